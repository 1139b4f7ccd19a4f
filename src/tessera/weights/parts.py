"""The files that one model consists of, and the one digest of all of them.

The digest identifies a model everywhere: in the journal, in cached facts, plans and compiled models, in the names of
int8 companions, and for the license of published files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tessera.errors import WeightsError
from tessera.storage.checksum import compute_sha256
from tessera.weights.names import ONNX_SUFFIX, OPENVINO_SUFFIX, PARAM_SUFFIX, VALUES_SUFFIX
from tessera.weights.onnx_parts import list_external_data


def list_parts(path: Path) -> tuple[Path, ...]:
    """List every file whose bytes decide the output of a model, in the order of the digest.

    The description of the layers comes first, then the values: `.param` and `.bin` (ncnn), `.xml` and `.bin`
    (OpenVINO), `.onnx` and its external data sorted by name. Other formats have one file.

    Raises WeightsError, without the file's name, when the file is not of its format, and OSError.
    """
    suffix = path.suffix.lower()
    if suffix == ONNX_SUFFIX:
        return (path, *list_external_data(path))
    description = find_description(path)
    if description is None:
        return (path,)
    return description, path.with_suffix(VALUES_SUFFIX)


def find_description(path: Path) -> Path | None:
    """Find the `.param` or `.xml` of a pair of files of which `path` names either one; None for other files."""
    suffix = path.suffix.lower()
    if suffix in (PARAM_SUFFIX, OPENVINO_SUFFIX):
        return path
    if suffix != VALUES_SUFFIX:
        return None
    pairs = (path.with_suffix(PARAM_SUFFIX), path.with_suffix(OPENVINO_SUFFIX))
    return next((each for each in pairs if each.is_file()), None)


def compute_digest(path: Path) -> str:
    """Compute the digest of a model: the SHA-256 of its file or, for several files, of their digests.

    Raises WeightsError as `list_parts` does, and OSError when a file is missing or cannot be read.
    """
    return combine_digests([compute_sha256(part) for part in list_parts(path)])


def combine_digests(digests: Sequence[str]) -> str:
    """Combine the SHA-256 of all files of a model into its digest: that of the hexadecimal digests, without separators.

    `sha256sum model.param model.bin | cut -c 1-64 | tr -d '\\n' | sha256sum` gives the same; one file keeps its own.

    >>> combine_digests(["ab"])
    'ab'
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read_digest(path: Path) -> str:
    """Compute the digest of a model. Raises WeightsError, with the file's name, when that is impossible."""
    try:
        return compute_digest(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{error.filename or path}: cannot read this file ({error.strerror or error}).") from error
