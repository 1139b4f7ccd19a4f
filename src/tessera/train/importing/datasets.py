"""The data sets of BasicSR and Real-ESRGAN options files -> values of `data`."""

from __future__ import annotations

from tessera.config import Values
from tessera.train.importing.foreign import Table, drop_none

REAL_ESRGAN_CROP = 400
"""Side of the crop that Real-ESRGAN degrades before it cuts `gt_size` out of it."""
ON_THE_WAY = "RealESRGANDataset"
DATASETS = {"PairedImageDataset": True, "RealESRGANPairedDataset": True, ON_THE_WAY: False}
"""Each data set, and whether its inputs are given."""
VALIDATION_KINDS = {**DATASETS, "SingleImageDataset": False}

_READING = "data.workers and data.cache set the readers"


def read_training_data(file: Table) -> tuple[Values, bool, Table]:
    """`datasets.train` -> values of `data`, whether pairs are given, and the table, which has the kernels as well."""
    datasets = file.read_table("datasets")
    table = datasets.read_table("train") if datasets is not None else None
    if datasets is None or table is None:
        raise file.file_error(
            "`datasets.train` is missing: this file does not train. For a test, use `tessera evaluate`."
        )
    paired = table.read_choice("type", DATASETS, "", "data set")
    places, pairs_in_list = _read_places(table, paired)
    _read_shared_options(table)
    file_size, own_size = file.read_optional_int("gt_size"), table.read_optional_int("gt_size")
    values = {
        **places,
        **drop_none(
            patch=own_size if file_size is None else file_size,
            batch=table.read_optional_int(_choose_key(table, "batch_size")),
            workers=table.read_optional_int(_choose_key(table, "num_worker", "n_workers")),
        ),
        "flips": table.read_flag("use_hflip", True),
        "rotations": table.read_flag("use_rot", True),
        **_read_validation(datasets),
    }
    if "patch" not in values:
        raise table.missing_key_error("gt_size", "the side of a ground-truth crop")
    return values, paired or pairs_in_list, table


def _choose_key(table: Table, *names: str) -> str:
    """The key with `_per_gpu`, or the one without, as files had until 2020."""
    return next((name for name in names if table.has(name)), f"{names[0]}_per_gpu")


def _read_places(table: Table, paired: bool) -> tuple[Values, bool]:
    """Paths of ground truths and inputs, and whether a list names both, as in Real-ESRGAN's pairs."""
    truths, inputs = table.read_paths("dataroot_gt"), table.read_paths("dataroot_lq")
    if not truths:
        raise table.missing_key_error("dataroot_gt", "the training pictures")
    if paired and len(inputs) != len(truths):
        raise table.missing_key_error("dataroot_lq", "the inputs, one path per path of ground truths")
    lists = table.read_paths("meta_info") or table.read_paths("meta_info_file")
    _read_backend(table, [*truths, *inputs])
    stores = all(place.endswith(".lmdb") for place in truths)
    if not lists or stores:
        if lists:
            table.skip("a store contains its own list", "meta_info", "meta_info_file")
        return {"train": truths, **({"lq": inputs} if paired else {})}, False
    if len(truths) > 1:
        raise table.make_value_error("dataroot_gt", "one folder, where a list is given")
    listed: Values = {"train": lists, "root": truths[0]}
    if not paired:
        return listed, False
    if inputs == truths and table.read_text("type") == "RealESRGANPairedDataset":
        return listed, True
    return {**listed, "lq": inputs * len(lists)}, False


def _read_backend(table: Table, places: list[str]) -> None:
    backend = table.read_table("io_backend")
    if backend is None:
        return
    kind = backend.read_text("type", "disk")
    if kind == "memcached":
        backend.note("type", "the files themselves are read; data.cache = memory keeps them decoded")
        backend.skip("belongs to memcached", "server_list_cfg", "client_cfg", "sys_path")
        kind = "disk"
    if kind not in ("disk", "lmdb"):
        raise backend.make_value_error("type", "disk, lmdb or memcached")
    if kind == "lmdb" and not all(place.endswith(".lmdb") for place in places):
        raise table.make_value_error("dataroot_gt", "a store, whose name ends in .lmdb, because io_backend is lmdb")


def _read_shared_options(table: Table) -> None:
    template = table.read_text("filename_tmpl", "{}")
    if template not in ("{}", "{}x2", "{}x3", "{}x4"):
        table.note("filename_tmpl", "pairs are matched by name, without marks such as x4 or _LR")
    table.read_text("name")
    table.read_text("phase")
    if not table.read_flag("use_shuffle", True):
        table.note("use_shuffle", "pictures are always shuffled")
    if table.read_optional_number("dataset_enlarge_ratio") not in (None, 1):
        table.note("dataset_enlarge_ratio", "a run is counted in steps, so passes need not be made longer")
    prefetching = ("prefetch_mode", "num_prefetch_queue", "pin_memory", "persistent_workers")
    table.skip(_READING, *prefetching)
    table.skip("networks take colors in [0, 1] without normalization", "mean", "std")


def _read_validation(datasets: Table) -> Values:
    """All sets named val, val_1, val_2 ... that have ground truths."""
    truths: list[str] = []
    inputs: list[str] = []
    for key in datasets.names():
        if not key.startswith("val"):
            continue
        table = datasets.read_table(key)
        if table is None:
            continue
        paired = table.read_choice("type", VALIDATION_KINDS, "PairedImageDataset", "data set")
        own, own_inputs = table.read_paths("dataroot_gt"), table.read_paths("dataroot_lq")
        _read_shared_options(table)
        if not own or (paired and len(own_inputs) != len(own)):
            table.skip_rest("this set has no ground truths; `tessera niqe` scores pictures without them")
            datasets.note(key, "this set has no ground truths; `tessera niqe` scores pictures without them")
            continue
        _read_backend(table, [*own, *own_inputs])
        table.skip("all pictures of the folder are used; for some of them, name a list (.txt)", "meta_info_file")
        truths += own
        inputs += own_inputs
    if inputs and len(inputs) != len(truths):
        raise datasets.file_error("Expected inputs for all validation sets or for none, found them for some.")
    return {**({"val": truths} if truths else {}), **({"val_lq": inputs} if inputs else {})}


def compute_crop_margin(patch: int, scale: int, table: Table) -> int:
    """Ground-truth pixels on each side that are degraded and then cut off, so that 400 (or `crop_pad_size`) are read.

    The crop is placed in low-resolution pixels, so twice the margin divides by the scale.
    """
    side = table.read_int("crop_pad_size", REAL_ESRGAN_CROP)
    margin = max(0, side - patch) // 2
    while 2 * margin % scale:
        margin -= 1
    if patch + 2 * margin != side:
        table.note("gt_size", f"crops of {patch + 2 * margin} pixels are degraded, not of {side}")
    return margin
