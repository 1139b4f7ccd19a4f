"""Reading takes work and memory in proportion to the file, whatever the file declares; both are counted, not timed."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.deploy.npz import read_array
from tessera.errors import PictureError, TesseraError, UnsafeWeightsError, WeightsError
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights import onnx_parts, pickle_walk
from tessera.weights.checkpoint import read_checkpoint
from tessera.weights.files import load_weights, save_weights
from tessera.weights.pickle_walk import MAX_INSTRUCTIONS, MalformedError, Walker
from tessera.weights.torchscript_file import TENSORS_KEY, read_own_torchscript

SMALL = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)


def peak_bytes(run: Callable[[], object], error: type[TesseraError]) -> int:
    """Largest memory taken by Python and NumPy while something raises an error."""
    tracemalloc.start()
    try:
        with pytest.raises(error):
            run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_torchscript_archive_unpacks_to_no_more_than_its_size(tmp_path):
    """256 texts of 8 MB each of zeros: 2 GB from about 2 MB."""
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
        archive.writestr(f"archive/extra/{TENSORS_KEY}", "[]")
        for number in range(32):
            archive.writestr(f"archive/extra/{number}", bytes(8 << 20))
    size = path.stat().st_size
    assert size < 1 << 20
    assert peak_bytes(lambda: read_own_torchscript(path), WeightsError) < 1 << 20


def test_a_torchscript_member_that_is_listed_twice_or_overlaps_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
        archive.writestr(f"archive/extra/{TENSORS_KEY}", "[]")
        archive.writestr("archive/extra/note", bytes(1000))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4) + 4)
    size_at = entry + 20
    for place in (size_at, size_at + 4):
        data[place : place + 4] = struct.pack("<I", 100_000)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="overlap"):
        read_own_torchscript(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_an_npz_of_zeros_is_refused_before_it_is_unpacked(tmp_path, compressed):
    """The size of the array and the size of its header are both declared by the file."""
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (3, 4096, 8192)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        archive.writestr("input_0.npy", header.getvalue() + (bytes(3 * 4096 * 8192) if compressed else b""))
    assert path.stat().st_size < 200_000
    assert peak_bytes(lambda: read_array(path, "input_0"), PictureError) < 4 << 20


def test_an_npz_header_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input_0.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 64 << 20) + b" " * (64 << 20))
    assert peak_bytes(lambda: read_array(path, "input_0"), PictureError) < 4 << 20


def test_an_honest_npz_of_a_flat_picture_is_read(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", input_0=array)
    assert np.array_equal(read_array(tmp_path / "a.npz", "input_0"), array)


# --------------------------------------------------------------------------------------- few bytes that copy much

SIZE = b"ctorch\nSize\n"
ORDERED = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def long_tuple(count: int) -> bytes:
    return b"(" + b"K\x01" * count + b"t"


def long_dictionary(count: int) -> bytes:
    return b"}(" + b"".join(b"J" + struct.pack("<i", number) + b"N" for number in range(count)) + b"u"


def repeated(setup: bytes, each: bytes, times: int) -> bytes:
    return b"\x80\x02" + setup + each * times + b"N."


COPIES = {
    "Size": (long_tuple(10_000) + b"q\x00" + SIZE + b"q\x01", b"h\x01h\x00\x85R0"),
    "OrderedDict": (long_dictionary(10_000) + b"q\x00" + ORDERED + b"q\x01", b"h\x01h\x00\x85R0"),
    "name": (b"X" + struct.pack("<I", 10_000) + b"a" * 10_000 + b"q\x00", b"h\x00h\x00\x930"),
    "key": (
        b"X" + struct.pack("<I", 160_000) + b"a" * 160_000 + b"q\x00}q\x01h\x01",
        b"h\x00Ns",
    ),
}


@pytest.mark.parametrize("kind", COPIES)
def test_instructions_that_copy_are_counted_by_what_they_copy(kind):
    """Six bytes may copy ten thousand items; the budget is one of items."""
    setup, each = COPIES[kind]
    walker = Walker()
    with pytest.raises((MalformedError, UnsafeWeightsError)):
        walker.walk(io.BytesIO(repeated(setup, each, 2000)))
    assert MAX_INSTRUCTIONS < walker.work <= MAX_INSTRUCTIONS + 20_000
    few = Walker()
    few.walk(io.BytesIO(repeated(setup, each, 3))) if kind != "name" else None
    assert few.work < 60_000


def test_sizes_are_counted_before_they_are_copied():
    setup = long_tuple(100_000) + b"q\x00" + TENSOR + b"q\x01"
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQq\x02"
    call = b"h\x01(h\x02K\x00h\x00h\x00\x89NtR0"
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="100000 sizes"):
            Walker().walk(io.BytesIO(repeated(setup + storage, call, 1)))
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bits", [64, 10**6])
def test_integers_as_keys_are_bounded(bits):
    """An integer is hashed from all its bytes each time that it is a key."""
    number = (1 << bits - 1).to_bytes(bits // 8 + 1, "little")
    data = b"\x80\x02}\x8b" + struct.pack("<i", len(number)) + number + b"Ns."
    walker = Walker()
    if bits == 64:
        walker.walk(io.BytesIO(data))
        return
    with pytest.raises(MalformedError, match="bits"):
        walker.walk(io.BytesIO(data))


def test_only_the_first_thousand_foreign_names_are_collected():
    names = b"".join(b"cm%d\nf\n0" % number for number in range(5000))
    walker = Walker()
    walker.walk(io.BytesIO(b"\x80\x02" + names + b"N."))
    assert len(walker.names) == pickle_walk.MAX_NAMES


def test_a_list_of_storages_that_nests_is_not_turned_into_text(tmp_path):
    """40 lists, each twice in the next: 2^40 words as text."""
    nest = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (level, level, level + 1) for level in range(40)) + b"."
    good = tmp_path / "good.pth"
    torch.save({"a": torch.zeros(1)}, good, _use_new_zipfile_serialization=False)
    data = good.read_bytes()
    end = data.rindex(b"]q\x00") if b"]q\x00" in data else data.rindex(b"]")
    path = tmp_path / "a.pth"
    path.write_bytes(data[:end] + nest)
    with pytest.raises(WeightsError, match="list of storages is not a list of names"):
        read_checkpoint(path)


def test_the_fields_of_an_onnx_file_are_counted(tmp_path, monkeypatch):
    """Doubling the fields doubles the count; more than the limit is refused."""
    counts: list[int] = []
    for fields in (1000, 2000, 4000):
        path = tmp_path / f"{fields}.onnx"
        path.write_bytes(b"\x08\x0a" + b"\x28\x01" * fields + b"\x3a\x00")
        with path.open("rb") as file:
            walk = onnx_parts._FieldReader(file, path.stat().st_size)
            walk.find_locations()
        counts.append(walk.fields)
    assert counts == [1002, 2002, 4002]
    monkeypatch.setattr(onnx_parts, "MAX_FIELDS", 3000)
    with pytest.raises(WeightsError, match="more than 3,000 fields"):
        onnx_parts.list_external_data(path)


def test_a_packed_checkpoint_is_read_and_a_bomb_is_not(tmp_path):
    state = SMALL.build().state_dict()
    inner = io.BytesIO()
    torch.save(state, inner)
    path = tmp_path / "download.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("__MACOSX/._2x_Model.pth", "x")
        archive.writestr("folder/2x_Model.pth", inner.getvalue())
    loaded = load_weights(path)
    assert loaded.config == SMALL
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in state.items())
    assert any("folder/2x_Model.pth" in note for note in loaded.notes)
    assert load_weights(path.rename(tmp_path / "2x_Model.pth")).config == SMALL
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pth", bytes(64 << 20))
    assert peak_bytes(lambda: load_weights(bomb), WeightsError) < 4 << 20


def test_hdf5_arrays_are_not_larger_than_their_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    from tessera.weights.hdf5_file import read_hdf5

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kernel", shape=(1 << 24,), dtype="f4", chunks=(1 << 20,), compression="gzip", data=None)
    with pytest.raises(WeightsError, match="more than the file"):
        read_hdf5(tmp_path / "a.h5")


def test_a_safetensors_header_may_not_be_longer_than_its_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, SMALL, SMALL.build().state_dict())
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    assert peak_bytes(lambda: load_weights(path), WeightsError) < 4 << 20


def test_files_written_here_stay_within_the_bounds(tmp_path: Path):
    """The count for a real checkpoint is far below the limit."""
    path = tmp_path / "a.pth"
    torch.save(SMALL.build().state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        walker = Walker()
        walker.walk(io.BytesIO(archive.read(name)))
    assert walker.work < MAX_INSTRUCTIONS / 1000
