"""The data sets of BasicSR and Real-ESRGAN options files -> values of `data`."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, without_none

REAL_ESRGAN_CROP = 400
"""Side of what Real-ESRGAN degrades, before it cuts `gt_size` from it."""
ON_THE_WAY = "RealESRGANDataset"
DATASETS = {"PairedImageDataset": True, "RealESRGANPairedDataset": True, ON_THE_WAY: False}
"""Each kind, and whether its inputs are given."""
VALIDATION_KINDS = {**DATASETS, "SingleImageDataset": False}

_READING = "readers are set by data.workers and data.cache here"


def training_data(file: Table) -> tuple[Values, bool, Table]:
    """`datasets.train` -> values of `data`, whether pairs are given, and the table, which has the kernels as well."""
    datasets = file.table("datasets")
    table = datasets.table("train") if datasets is not None else None
    if datasets is None or table is None:
        raise file.refusal(
            "`datasets.train` is missing: this is no file to train with. For a test, see `tessera evaluate --help`."
        )
    paired = table.choice("type", DATASETS, "", "data set")
    places, pairs_in_list = _places(table, paired)
    _shared_options(table)
    file_size, own_size = file.maybe_whole("gt_size"), table.maybe_whole("gt_size")
    values = {
        **places,
        **without_none(
            patch=own_size if file_size is None else file_size,
            batch=table.maybe_whole(_per_gpu(table, "batch_size")),
            workers=table.maybe_whole(_per_gpu(table, "num_worker", "n_workers")),
        ),
        "flips": table.flag("use_hflip", True),
        "rotations": table.flag("use_rot", True),
        **_validation(datasets),
    }
    if "patch" not in values:
        raise table.missing("gt_size", "the side of a crop of the truth")
    return values, paired or pairs_in_list, table


def _per_gpu(table: Table, *names: str) -> str:
    """The key with `_per_gpu`, or the one without, as files had until 2020."""
    return next((name for name in names if table.has(name)), f"{names[0]}_per_gpu")


def _places(table: Table, paired: bool) -> tuple[Values, bool]:
    """Where truths and inputs are; and whether a list may name both, which is so in Real-ESRGAN's pairs."""
    truths, inputs = table.places("dataroot_gt"), table.places("dataroot_lq")
    if not truths:
        raise table.missing("dataroot_gt", "the pictures to learn from")
    if paired and len(inputs) != len(truths):
        raise table.missing("dataroot_lq", "the inputs, a place for each place of truths")
    lists = table.places("meta_info") or table.places("meta_info_file")
    _backend(table, [*truths, *inputs])
    stores = all(place.endswith(".lmdb") for place in truths)
    if not lists or stores:
        if lists:
            table.leave("a store has its own list inside", "meta_info", "meta_info_file")
        return {"train": truths, **({"lq": inputs} if paired else {})}, False
    if len(truths) > 1:
        raise table.wrong("dataroot_gt", "one folder, where a list is given")
    listed: Values = {"train": lists, "root": truths[0]}
    if not paired:
        return listed, False
    if inputs == truths and table.text("type") == "RealESRGANPairedDataset":
        return listed, True
    return {**listed, "lq": inputs * len(lists)}, False


def _backend(table: Table, places: list[str]) -> None:
    backend = table.table("io_backend")
    if backend is None:
        return
    kind = backend.text("type", "disk")
    if kind == "memcached":
        backend.note("type", "the files themselves are read; data.cache = memory keeps them decoded")
        backend.leave("belongs to memcached", "server_list_cfg", "client_cfg", "sys_path")
        kind = "disk"
    if kind not in ("disk", "lmdb"):
        raise backend.wrong("type", "disk, lmdb or memcached")
    if kind == "lmdb" and not all(place.endswith(".lmdb") for place in places):
        raise table.wrong("dataroot_gt", "a store, whose name ends in .lmdb, because io_backend is lmdb")


def _shared_options(table: Table) -> None:
    template = table.text("filename_tmpl", "{}")
    if template not in ("{}", "{}x2", "{}x3", "{}x4"):
        table.note("filename_tmpl", "pairs are found by name here, without marks such as x4 or _LR")
    table.text("name")
    table.text("phase")
    if not table.flag("use_shuffle", True):
        table.note("use_shuffle", "pictures are shuffled in every pass here")
    if table.maybe_number("dataset_enlarge_ratio") not in (None, 1):
        table.note("dataset_enlarge_ratio", "a run here is counted in steps, so no pass has to be made longer")
    prefetching = ("prefetch_mode", "num_prefetch_queue", "pin_memory", "persistent_workers")
    table.leave(_READING, *prefetching)
    table.leave("networks here take colors in [0, 1] as they are", "mean", "std")


def _validation(datasets: Table) -> Values:
    """All sets named val, val_1, val_2 ... that have truths."""
    truths: list[str] = []
    inputs: list[str] = []
    for key in datasets.names():
        if not key.startswith("val"):
            continue
        table = datasets.table(key)
        if table is None:
            continue
        paired = table.choice("type", VALIDATION_KINDS, "PairedImageDataset", "data set")
        own, own_inputs = table.places("dataroot_gt"), table.places("dataroot_lq")
        _shared_options(table)
        if not own or (paired and len(own_inputs) != len(own)):
            table.leave_rest("this set has no truths to check against; `tessera niqe` scores pictures without")
            datasets.note(key, "this set has no truths to check against; `tessera niqe` scores pictures without")
            continue
        _backend(table, [*own, *own_inputs])
        table.leave("every picture of the folder counts; for a part of it, name a list (.txt)", "meta_info_file")
        truths += own
        inputs += own_inputs
    if inputs and len(inputs) != len(truths):
        raise datasets.refusal("Some sets to check on have inputs and some have none: give all of them, or none.")
    return {**({"val": truths} if truths else {}), **({"val_lq": inputs} if inputs else {})}


def crop_margin(patch: int, scale: int, table: Table) -> int:
    """Ground-truth pixels on each side that are degraded and then cut off, so that 400 (or `crop_pad_size`) are read.

    The crop's place is found in low-resolution pixels, so twice the margin divides by the scale.
    """
    side = table.whole("crop_pad_size", REAL_ESRGAN_CROP)
    margin = max(0, side - patch) // 2
    while 2 * margin % scale:
        margin -= 1
    if patch + 2 * margin != side:
        table.note("gt_size", f"crops of {patch + 2 * margin} pixels are degraded, not of {side}")
    return margin
