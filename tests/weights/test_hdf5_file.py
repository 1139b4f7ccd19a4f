"""HDF5 files: one that h5py 3.16 wrote, whole and cut off, and files with what is not read."""

import base64
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from tessera.errors import WeightsError
from tessera.weights.hdf5_file import is_hdf5, read_hdf5

h5py = pytest.importorskip("h5py")

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


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.weights.h5"
    path.write_bytes(WRITTEN)
    return path


def test_arrays_have_the_path_the_shape_and_the_type_they_were_written_with(whole):
    found = read_hdf5(whole)
    kernel = found["block1/layers/conv2d/vars/0"]
    assert kernel.dtype == np.float32
    assert np.array_equal(kernel, np.arange(54).reshape(3, 3, 3, 2) / 8)
    assert found["block1/layers/conv2d/vars/1"].tolist() == [1.5, -2.0]
    assert (found["types/half"].dtype, found["types/half"].tolist()) == (np.float16, [0.25, 65504.0])
    assert (found["types/double"].dtype, found["types/double"].tolist()) == (np.float64, [1 / 3])
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
    for end in range(0, len(WRITTEN), 997):
        path.write_bytes(WRITTEN[:end])
        with pytest.raises(WeightsError, match="Download it again"):
            read_hdf5(path)


def test_values_in_other_files_are_not_read(tmp_path):
    np.full(4, 7.0, np.float32).tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("a", (4,), "f4", external=[(str(tmp_path / "secret.bin"), 0, 16)])
    with pytest.raises(WeightsError, match="`a` has its values in another file"):
        read_hdf5(tmp_path / "external.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["b"] = np.ones(4, np.float32)
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "b", (4,))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    with pytest.raises(WeightsError, match="`a` has its values in another file"):
        read_hdf5(tmp_path / "virtual.h5")
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["mine"] = np.ones(2, np.float32)
        file["theirs"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "b")
        file["again"] = h5py.SoftLink("/mine")
    assert list(read_hdf5(tmp_path / "linked.h5")) == ["mine"]


def test_arrays_that_claim_more_than_is_read_are_refused_before_memory_is_taken(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 20,))  # nothing is written
    with pytest.raises(WeightsError, match="at most"):
        read_hdf5(tmp_path / "huge.h5")


def test_other_files_and_a_missing_library_get_a_sentence(whole, tmp_path, monkeypatch):
    (tmp_path / "other.h5").write_bytes(b"not at all" * 10)
    with pytest.raises(WeightsError, match="not an HDF5 file"):
        read_hdf5(tmp_path / "other.h5")
    with pytest.raises(WeightsError, match="cannot read"):
        read_hdf5(tmp_path / "missing.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(WeightsError, match=r'needs the package h5py .*pip install "tessera-sr\[hdf5\]"'):
        read_hdf5(whole)
