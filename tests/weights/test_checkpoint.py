"""Checkpoints are read without running them: agreement with PyTorch on honest files, refusal of all others."""

import collections
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import UnsafeWeightsError, WeightsError
from tessera.weights.arrays import format_dtype
from tessera.weights.checkpoint import LEGACY_MAGIC, LEGACY_PROTOCOL, read_checkpoint

EVIL = b"cos\nsystem\n(S'touch %s'\ntR."


def honest_content() -> dict[str, Any]:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, 3)
    base = torch.arange(24.0)
    return {
        "params": layer.state_dict(),
        "epoch": 7,
        "name": "ü",
        "list": [1, 2.5, None, True, ("x", "y")],
        "half": torch.rand(3).half(),
        "brain": torch.rand(3).bfloat16(),
        "long": torch.arange(4),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "view": base.reshape(4, 6).t()[1:3],
        "shared": base,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "milestones": collections.Counter([5, 5, 9]),
        "size": torch.Size([2, 3]),
    }


def save(path: Path, content: object, zip_format: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    return path


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        expected = theirs.detach().contiguous()
        name, shape = str(expected.dtype).removeprefix("torch."), tuple(expected.shape)
        data = expected.reshape(-1).view(torch.uint8).numpy().tobytes() if expected.numel() else b""
        return (format_dtype(ours.dtype), ours.shape, ours.tobytes()) == (name, shape, data)
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


@pytest.mark.parametrize("zip_format", [True, False])
def test_honest_files_are_read_as_pytorch_reads_them(tmp_path: Path, zip_format: bool) -> None:
    path = save(tmp_path / "a.pth", honest_content(), zip_format)
    read = read_checkpoint(path)
    assert read.format == ("zip" if zip_format else "legacy")
    assert same(read.content, torch.load(path, weights_only=True))


@pytest.mark.assets
@pytest.mark.skipif("TESSERA_ASSETS" not in os.environ, reason="TESSERA_ASSETS does not name the folder of weights")
@pytest.mark.parametrize("name", ["realesr-animevideov3.pth", "vgg19-distilled-encoder.pth", "dists_alpha_beta.pt"])
def test_published_files_are_read_as_pytorch_reads_them(name: str) -> None:
    path = Path(os.environ["TESSERA_ASSETS"]) / "weights" / name
    assert same(read_checkpoint(path).content, torch.load(path, weights_only=True, map_location="cpu"))


# ------------------------------------------------------------------------------------------------ malice


class Reduced:
    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


class WithState:
    def __setstate__(self, state: object) -> None:
        raise AssertionError("executed")

    def __getstate__(self) -> object:
        return {"a": 1}


def malicious(mark: str) -> dict[str, bytes]:
    """Pickles that would make the file `mark` if anything ran them."""
    command = f"touch {mark}"
    reduced = Reduced(os.system, command)
    as_text = command.encode()
    return {
        "GLOBAL": b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(as_text)) + as_text + b"\x85R.",
        "GLOBAL in protocol 0": pickle.dumps(reduced, protocol=0),
        "STACK_GLOBAL": pickle.dumps(reduced, protocol=4),
        "REDUCE with memo": b"\x80\x02cos\nsystem\nq\x00X"
        + struct.pack("<I", len(as_text))
        + as_text
        + b"q\x010h\x00h\x01\x85R.",
        "INST": b"\x80\x02(S'" + as_text + b"'\nios\nsystem\n.",
        "OBJ": b"\x80\x02(cos\nsystem\nS'" + as_text + b"'\no.",
        "NEWOBJ": b"\x80\x02cos\nsystem\nS'" + as_text + b"'\n\x85\x81.",
        "BUILD": pickle.dumps(WithState(), protocol=2),
        "hidden in a state dict": pickle.dumps({"conv.weight": [1, {"a": reduced}]}, protocol=2),
        "popped": b"\x80\x02cos\nsystem\nS'" + as_text + b"'\n\x85R0}.",
        "eval": pickle.dumps(Reduced(eval, f"open({mark!r}, 'w')"), protocol=2),
        "getattr": b"\x80\x02c__builtin__\ngetattr\nctorch\nload\nS'x'\n\x86R.",
        "torch function": b"\x80\x02ctorch\nload\nS'x'\n\x85R.",
        "dotted": b"\x80\x04\x8c\x05torch\x8c\x10_utils.os.system\x93)R.",
        "lookalike": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n)R.",
        "pickle in a pickle": b"\x80\x02cpickle\nloads\nC\x01.\x85R.",
        "malformed after it": b"\x80\x02cos\nsystem\nS'x'\n\x85R" + b"\xff\xff",
    }


KINDS = sorted(malicious(""))


def as_zip(data: bytes, members: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
        for name, content in (members or {}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def as_legacy(data: bytes, tail: bytes = b"") -> bytes:
    header = (LEGACY_MAGIC, LEGACY_PROTOCOL, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(part, protocol=2) for part in header) + data + tail


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", [as_zip, as_legacy, bytes], ids=["zip", "legacy", "bare"])
def test_malicious_pickles_are_refused_and_nothing_runs(
    tmp_path: Path, kind: str, wrap: Callable[[bytes], bytes]
) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / "evil.pth"
    path.write_bytes(wrap(malicious(str(mark))[kind]))
    with pytest.raises(UnsafeWeightsError) as caught:
        read_checkpoint(path)
    assert not mark.exists()
    assert "nothing in it ran" in str(caught.value)
    assert str(path) in str(caught.value)
    quoted = {"BUILD": "WithState", "eval": "eval", "getattr": "getattr", "torch function": "torch.load"}
    quoted |= {"dotted": "_utils.os.system", "lookalike": "__globals__", "pickle in a pickle": "pickle.loads"}
    assert quoted.get(kind, "system") in str(caught.value)


def test_malice_in_the_header_pickles_of_the_older_format_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    evil = malicious(str(mark))["STACK_GLOBAL"]
    magic = pickle.dumps(LEGACY_MAGIC, protocol=2)
    for data in (
        evil,
        magic + evil,
        magic + pickle.dumps(LEGACY_PROTOCOL, protocol=2) + evil,
        as_legacy(b"\x80\x02}.", evil),
    ):
        path = tmp_path / "evil.pth"
        path.write_bytes(data)
        with pytest.raises(UnsafeWeightsError):
            read_checkpoint(path)
    assert not mark.exists()


def test_the_malicious_pickles_really_work_elsewhere(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for kind in ("GLOBAL", "STACK_GLOBAL", "INST", "REDUCE with memo", "popped"):
        pickle.loads(malicious(str(mark))[kind])
        assert mark.exists()
        mark.unlink()


def test_a_whole_pickled_network_is_refused_with_advice(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(UnsafeWeightsError, match=r"torch.nn.modules.conv.Conv2d.*state_dict"):
        read_checkpoint(path)


# ----------------------------------------------------------------------------------- sizes that are not true


def tensor_pickle(
    elements: int, size: tuple[Any, ...], stride: tuple[Any, ...], offset: Any = 0, legacy: bool = False
) -> bytes:
    """The pickle of {'w': tensor} with whatever numbers, on storage '0' of floats."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            if not isinstance(obj, str) or obj != "the storage":
                return None
            identity = ("storage", torch.FloatStorage, "0", "cpu", elements)
            return (*identity, None) if legacy else identity

    buffer = io.BytesIO()
    torch_: Any = torch
    rebuilt = Reduced(
        torch_._utils._rebuild_tensor_v2, "the storage", offset, size, stride, False, collections.OrderedDict()
    )
    Pickler(buffer, protocol=2).dump({"w": rebuilt})
    return buffer.getvalue()


def legacy_file(elements: int, data: bytes, count: int | None = None) -> bytes:
    tail = pickle.dumps(["0"], protocol=2) + struct.pack("<q", elements if count is None else count) + data
    return as_legacy(tensor_pickle(elements, (elements,), (1,), legacy=True), tail)


def test_files_made_by_hand_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    numbers = struct.pack("<4f", 1, 2, 3, 4)
    path.write_bytes(as_zip(tensor_pickle(4, (2, 2), (1, 2)), {"archive/data/0": numbers}))
    assert read_checkpoint(path).content["w"].tolist() == [[1, 3], [2, 4]]
    path.write_bytes(legacy_file(4, numbers))
    assert read_checkpoint(path).content["w"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("elements", "size", "stride", "offset"),
    [
        (1 << 40, (1 << 40,), (1,), 0),
        (1 << 62, (4,), (1,), 0),
        (10**30, (4,), (1,), 0),
        (-4, (4,), (1,), 0),
        (5, (4,), (1,), 0),
        (3, (3,), (1,), 0),
        (4, (5,), (1,), 0),
        (4, (4,), (1,), 1),
        (4, (4,), (1,), -1),
        (4, (2, 2), (3, 1), 0),
        (4, (2, 2), (-1, 1), 0),
        (4, (1 << 40,), (0,), 0),
        (4, (-1,), (1,), 0),
        (4, (4,), (1, 1), 0),
        (4, (1,) * 20, (1,) * 20, 0),
        (4, (2.5,), (1,), 0),
        (4, ("4",), (1,), 0),
        (4, (0,), (1,), 1 << 30),
    ],
)
def test_sizes_that_are_not_true_are_refused_without_taking_memory(
    tmp_path: Path, elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(as_zip(tensor_pickle(elements, size, stride, offset), {"archive/data/0": bytes(16)}))
    with pytest.raises(WeightsError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("elements", "size", "stride", "offset", "words"),
    [
        (4, (5,), (1,), 0, "reaches outside its storage"),
        (4, (4,), (1,), 1, "reaches outside its storage"),
        (4, (2, 2), (3, 1), 0, "reaches outside its storage"),
        (4, (5,), (0,), 0, "reaches outside its storage"),
        (3, (3,), (1,), 0, "declares 12 bytes and has 16"),
        (5, (5,), (1,), 0, "declares 20 bytes and has 16"),
    ],
)
def test_the_sentence_says_which_size_is_not_true(
    tmp_path: Path, elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int, words: str
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(as_zip(tensor_pickle(elements, size, stride, offset), {"archive/data/0": bytes(16)}))
    with pytest.raises(WeightsError, match=words):
        read_checkpoint(path)


@pytest.mark.parametrize(("elements", "count"), [(1 << 40, None), (4, 1 << 60), (4, -1), (5, None), (3, None), (4, 3)])
def test_false_sizes_in_the_older_format_are_refused(tmp_path: Path, elements: int, count: int | None) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(legacy_file(elements, bytes(16), count))
    if (elements, count) == (3, None):  # what follows the last storage is nobody's business
        assert read_checkpoint(path).content["w"].shape == (3,)
        return
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    for zip_format in (True, False):
        path = save(tmp_path / "a.pth", {"w": torch.zeros(1000)}, zip_format)
        read_checkpoint(path, limit_bytes=4000)
        with pytest.raises(WeightsError, match="4000 bytes of tensors, and at most 3999"):
            read_checkpoint(path, limit_bytes=3999)


def test_many_views_of_one_storage_count_as_often_as_they_occur(tmp_path: Path) -> None:
    base = torch.zeros(1000)
    path = save(tmp_path / "a.pth", {str(index): base.view(1000) for index in range(50)})
    with pytest.raises(WeightsError, match="200000 bytes"):
        read_checkpoint(path, limit_bytes=100_000)


def test_compressed_and_duplicate_and_foreign_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(250_000_000, (250_000_000,), (1,)))
    with pytest.raises(WeightsError, match="is compressed"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", malicious("x")["GLOBAL"])
    with pytest.raises(WeightsError, match="twice"):
        read_checkpoint(path)
    path.write_bytes(as_zip(b"\x80\x02}.", {"other/data.pkl": b"\x80\x02}."}))
    with pytest.raises(WeightsError, match="more than one"):
        read_checkpoint(path)
    path.write_bytes(as_zip(b"\x80\x02}.", {"archive/byteorder": b"big"}))
    with pytest.raises(WeightsError, match="big-endian"):
        read_checkpoint(path)


def test_torchscript_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(as_zip(b"\x80\x02}.", {"archive/constants.pkl": b"\x80\x02).", "archive/code/__torch__.py": b""}))
    with pytest.raises(WeightsError, match=r"TorchScript.*state_dict"):
        read_checkpoint(path)


def test_nests_and_bombs_of_references_end_quickly(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    doubling = b"\x80\x02]q\x00" + b"".join(
        b"]h" + bytes([n]) + b"ah" + bytes([n]) + b"aq" + bytes([n + 1]) for n in range(40)
    )
    path.write_bytes(as_zip(doubling + b"."))
    assert isinstance(read_checkpoint(path).content, list)
    for data in (
        b"(" * 60_000 + b".",
        b"]" * 60_000 + b"a" * 59_999 + b".",
        b"\x80\x02)" + b"\x85" * 60_000 + b".",
    ):
        for wrap in (as_zip, as_legacy):
            path.write_bytes(wrap(data))
            try:
                read_checkpoint(path)
            except WeightsError:
                continue
    path.write_bytes(as_zip(b"\x80\x02})" + b"\x85" * 50_000 + b"Ns."))  # a deep tuple as a key
    with pytest.raises(WeightsError, match="neither a string nor a number"):
        read_checkpoint(path)
    path.write_bytes(as_zip(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x."))  # a text of an exabyte
    with pytest.raises(WeightsError):
        read_checkpoint(path)
    path.write_bytes(as_legacy(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x."))
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_extension_codes_and_outside_references_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for data in (b"\x80\x02\x82\x01.", b"P123\n.", b"\x80\x02X\x01\x00\x00\x00aQ.", b"\x80\x05\x97."):
        path.write_bytes(as_zip(data))
        with pytest.raises(WeightsError):
            read_checkpoint(path)


# ----------------------------------------------------------------------------------- files that are none


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 67040989\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><head><title>Sign in</title>", "web page"),
        (b"\n  <html>", "web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
        (b"\x1f\x8b\x08" + bytes(50), "gzip"),
        (b"Not Found", "neither of the two formats"),
        (b"PK\x03\x04" + bytes(100), "archive is damaged"),
        (b"\x80\x02}.", "not one that `torch.save` wrote"),
        (bytes(1000), "neither of the two formats"),
        (struct.pack("<Q", 20) + b'{"a":1}' + b" " * 100, "safetensors"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=word) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_give_their_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read"):
            read_checkpoint(path)


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_file_cut_off_anywhere_gives_only_its_sentence(tmp_path: Path, zip_format: bool) -> None:
    whole = save(tmp_path / "a.pth", honest_content(), zip_format).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_checkpoint(path)


# ----------------------------------------------------------------------------------------------- fuzzing


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    files = [save(folder / "a.pth", honest_content(), zip_format).read_bytes() for zip_format in (True, False)]
    return [*files, as_zip(tensor_pickle(4, (2, 2), (1, 2)), {"archive/data/0": bytes(16)}), legacy_file(4, bytes(16))]


changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


def mutate_and_read(seed: bytes, where: list[tuple[float, int]], tail: bool, path: Path) -> None:
    data = bytearray(seed)
    for place, value in where:
        # Half of the time near the beginning, where the structure of the older format is.
        span = min(len(data), 600) if tail else len(data)
        data[int(place * span)] = value
    path.write_bytes(data)
    try:
        read_checkpoint(path)
    except WeightsError:
        return


@given(which=st.integers(0, 3), where=changes, tail=st.booleans())
@settings(max_examples=400, deadline=None)
def test_changed_bytes_give_a_sentence_or_a_result(
    seeds: list[bytes], tmp_path_factory: pytest.TempPathFactory, which: int, where: list[tuple[float, int]], tail: bool
) -> None:
    mutate_and_read(seeds[which], where, tail, tmp_path_factory.getbasetemp() / "fuzzed.pth")


@pytest.mark.slow
@given(which=st.integers(0, 3), where=changes, tail=st.booleans())
@settings(max_examples=10_000, deadline=None)
def test_changed_bytes_give_a_sentence_or_a_result_at_length(
    seeds: list[bytes], tmp_path_factory: pytest.TempPathFactory, which: int, where: list[tuple[float, int]], tail: bool
) -> None:
    mutate_and_read(seeds[which], where, tail, tmp_path_factory.getbasetemp() / "fuzzed.pth")


@given(data=st.binary(max_size=200), wrap=st.sampled_from([as_zip, as_legacy, bytes]))
@settings(max_examples=300, deadline=None)
def test_random_pickles_give_a_sentence_or_a_result(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, wrap: Callable[[bytes], bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.pth"
    path.write_bytes(wrap(b"\x80\x02" + data + b"."))
    try:
        read_checkpoint(path)
    except WeightsError:
        return
