"""HDF5 without its library: a file that h5py 3.16 wrote, whole, cut off, and with bytes changed."""

import base64
import struct
import zlib
from pathlib import Path

import pytest
import torch

from tessera.errors import WeightsError
from tessera.weights.hdf5_file import SIGNATURE, is_hdf5, read_hdf5

# h5py: block1/layers/conv2d/vars/{0,1} as Keras has them, `types` of every kind, and `many`, twenty in one group.
WRITTEN = zlib.decompress(
    base64.b85decode(
        "c-rk;J#Z686yDPhob7ll4a}g>M42QL<)^qKCJ~bapA(xX31B5aqArqc5it?61_xqK3a+3KGZZQ)T%@=ng$oK56fP)KP`IE_0W&TrT%>T3!bJ"
        ")fnQ`9Ty*=HYtdkt<!Drr^`R1{A&wHnD-#+boyW(zU;@t4y$w6j{EVBrUF}G}^to$gp`Taa<33Uzia)@7-ta}N(9>@N@c9*}OoHVVsJ;I-}9"
        "<{ajb|kNgWG2V6rp{qIiF!38+D(_|W`0o_`*pEeoQL-HLS@nIpXpsbx10ZF!gjk9?azNV25c?UP?G<;;#e&z+La57#T)Z&f6ct$b1z+-nvhu"
        "7@w;SLjMrX2=6=5RzG#;^ga7zIe1G{}(N4j3_PxV3e%<0g_Nd*i4)hlXHisz=P#oxt1N8yXZf34>>(uOC#{tRlyVOx}-g^C*WOs2OH)OXLhW"
        "m>HTXBj56bCxvz|yd2cdKBo2KFxwC_`c#@cJ=Hw>S_M;y?^XP&+2(#l7M{<88`oDGs#b0QV;&F4`%mRZqP|+oL#;9ufP^V_T2Y82JhR{`d0r"
        "8jg&_qU<=ZTq#^Hn(fym$@+_!!?i5%e#9L6W9_l{>dUF~k}E*C?cD1`E^8w+CL|;zBqSsxBqSsxBqSt36SICGxe|W~E5K63zJS}e9XizIdgu"
        "Lw)pb1i28&o%lI(=cPTa=(Q6^jWL!prMKp87kVadRq;5E-1=k}EkyKWV7>Q=^E{`S1Cy7dnElD}Ws<0?s#;2$sUCkr3i7T%q%+5zKZ=Y2izd"
        "4^u~eB&cqr^v-#N%7Y6`FXRd=R8cQP`+yF*}0q3<sxI#*M9z~Sed<6sMz;^E6tgg+5AkQT)5G$`zH5%K9AtF7#obT!I7TxS;zSt3FLhCo@3("
        "Ul}Fx|`M1~)2kPUTWlRS&0c;Gs0H6W#03A>V7=Q+#31|V<0h<7GBSHqm00}@6kOC-xG(ZDn09il|kO!0iRlov32iyVF0QUfOz<t0H;17TS_!"
        "F=UcmQYs9s*VXj{r@;W56ol37`dds@d<!nrw9Y_bZk>8ynN%ZIbRW6nz#xlV)ojKbMB@XW(<J`{VFg0ZD)Y&;VIL9#947fEu6<SQ@8@MM6SC"
        "LUItr&Ud5EI%ey1fBEjlsJ|W0##Vcr)8^++5<Px6!SfyYlVIk%l4s4)ULTJkR~j1~g4Ig6*ZTNQK=R%HnJ>J#+x-9Dq2Qyljux{_V={C6!=H"
        "!y$V0;O<a$8ni`->??A9M1bjcr=4s;y0>pqdLb)Vd4Vt(E_$6Q_k_s`op&oi0tuwF!8afd?oZ@x4FIbZB`OT>x#nNRy$w-}%M+wthxIO}i6="
        "b=?)AivtduO0@{ulA3R72-qS;}P*8@X;hb1U?=U9|9k%#D~Dg6XHYQqZLR#f>|$%IQ6KO)?a;Vy~j=vFMn-*;cw?WZi3dGJI{ls6c+?O)`$;"
        "*kLSdPz{h%^^MC$(_1L7peU|6<J$~TM&();9_P678w)8g?hj;d?zi6Hbd~6UO0v~@99|9kn0gl5mD`7kHt-pO0wQ<4UZUJ@UqQ9Mvx;f=<$9"
        "Dr;S${jeTb8=yZ^uU^ec9j6;JjRUS$_2o%`<_IE#gDq<KIBn4HQhU75tA&lvAkjoV<ePR1`edqI`@R&ygsYcq@2rSH=ER>`%r1RP0a1{#5Kw"
        "#r{<6PsRS!GfWttm4K}a{{sbdn(+"
    )
)
# One array of 4,000 numbers under four names (hard links).
LINKED = zlib.decompress(
    base64.b85decode(
        "c-rmKy$ZrG6o%oGv_cR>ofH>4I(h|yV8uyA9UT3;4;}R`9K96pO8avPwu598e4piOa!!(#<~Ey58}(jYQqD;zE&23PmuY!i)OVUj^Q!r<#"
        "k|RCU7c_1{?)$CDvs0cS4DBoFw8R&{G(YsUZ%O#@j&xw%YA#zgXU55RJo@^&vT8`B>Y%t^d=jVPu!bQ${?wym3Gw6*CjW$<D_%e{c7T}y0"
        "tdj!0CR0NggwoQTYw7KlLBh^Tos@U#2fBQSiOL<=NNu?2A16000000000000000000000000000000;O7meDKT&"
    )
)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.weights.h5"
    path.write_bytes(WRITTEN)
    return path


def test_arrays_have_the_path_the_shape_and_the_type_they_were_written_with(whole):
    found = read_hdf5(whole)
    kernel = found["block1/layers/conv2d/vars/0"]
    torch.testing.assert_close(kernel, torch.arange(54, dtype=torch.float32).reshape(3, 3, 3, 2) / 8, rtol=0, atol=0)
    assert found["block1/layers/conv2d/vars/1"].tolist() == [1.5, -2.0]
    assert torch.equal(found["types/half"], torch.tensor([0.25, 65504.0], dtype=torch.float16))
    assert torch.equal(found["types/double"], torch.tensor([1 / 3], dtype=torch.float64))
    assert found["types/big_endian"].tolist() == [1.0, 2.5]
    assert found["types/scalar"].shape == ()
    assert found["types/scalar"] == 7


def test_a_group_of_many_is_read_in_full_and_whole_numbers_are_no_weights(whole):
    found = read_hdf5(whole)
    assert [float(found[f"many/{number:02}"]) for number in range(20)] == [float(number) for number in range(20)]
    assert "types/whole" not in found


def test_what_was_read_can_be_written_to(whole):
    found = read_hdf5(whole)
    found["types/scalar"] += 1
    assert read_hdf5(whole)["types/scalar"] == 7


def test_hdf5_is_known_by_its_first_bytes(whole, tmp_path):
    assert is_hdf5(whole)
    (tmp_path / "other").write_bytes(b"PK")
    assert not is_hdf5(tmp_path / "other")


def test_a_file_that_ends_early_gets_a_sentence_wherever_it_ends(tmp_path):
    path = tmp_path / "cut.h5"
    for end in range(0, len(WRITTEN), 97):
        path.write_bytes(WRITTEN[:end])
        with pytest.raises(WeightsError, match=r"Fetch it again|begins otherwise"):
            read_hdf5(path)


def test_a_changed_byte_gives_a_sentence_or_numbers_and_ends(whole):
    """Every third byte of the structure, turned over; nothing else than WeightsError comes out, and it ends."""
    for position in range(8, 4000, 3):
        content = bytearray(WRITTEN)
        content[position] ^= 0xFF
        whole.write_bytes(bytes(content))
        try:
            total = sum(tensor.numel() * tensor.element_size() for tensor in read_hdf5(whole).values())
        except WeightsError:
            continue
        assert total <= len(WRITTEN)


def test_a_group_that_holds_itself_is_refused(whole):
    content = bytearray(WRITTEN)
    (root,) = struct.unpack_from("<Q", content, 64)
    node = content.index(b"SNOD")
    for symbol in range(struct.unpack_from("<H", content, node + 6)[0]):
        struct.pack_into("<Q", content, node + 8 + 40 * symbol + 8, root)
    whole.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="deep within each other"):
        read_hdf5(whole)


def test_arrays_that_share_their_bytes_do_not_grow_beyond_the_file(whole):
    whole.write_bytes(LINKED)
    with pytest.raises(WeightsError, match="more bytes than the file"):
        read_hdf5(whole)


def test_newer_and_other_files_get_a_sentence(tmp_path):
    path = tmp_path / "other.h5"
    path.write_bytes(SIGNATURE + bytes([3, 8, 8]) + bytes(100))
    with pytest.raises(WeightsError, match="superblock has version 3"):
        read_hdf5(path)
    path.write_bytes(b"not at all" * 10)
    with pytest.raises(WeightsError, match="not an HDF5 file"):
        read_hdf5(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_hdf5(tmp_path / "missing.h5")
