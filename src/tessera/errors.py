"""Every error that Tessera raises on purpose, as a tree.

::

    TesseraError
    ├── UsageError            the command or call cannot be carried out as written   exit 2
    ├── PictureError          a picture cannot be read or written
    │   └── LimitError        a picture, or what it would become, is larger than allowed
    ├── WeightsError          a weights file cannot be used
    │   ├── UnsafeWeightsError    it refers to code that a weights file does not need
    │   └── UnknownNetworkError   its keys match no supported network
    ├── ModelNotFoundError    a model's file is not on this machine
    │   └── UnknownModelError     unknown model name (also a UsageError)           exit 2
    ├── DownloadError         a download failed or its checksum does not match
    ├── ExportError           a model cannot be exported, or the exported file failed verification
    ├── EngineError           an engine cannot run here
    │   └── OutOfMemoryError      not even the smallest tile fits
    ├── FileError             a file in the way is a link, a device or too large
    ├── TrainingError         a training run cannot start or continue
    ├── NonFiniteError        the network returned NaN, infinity or black in fp32
    └── Interrupted           the user or the system asked to stop

Each message tells the user where, what was expected, what was found, and what to do next. It names settings, not
options: the library has callers that have no command line. Any exception outside this tree is a bug and keeps its
traceback.
"""


class TesseraError(Exception):
    """Base of every error that is raised on purpose; its text is meant for the user."""


class UsageError(TesseraError, ValueError):
    """The command or the call cannot be carried out as written.

    Args:
        facts: What was expected, what was found, what to do next. Other settings are named in backticks: `overwrite`.
        field: The argument or setting at fault; the text then reads "field: facts". The command line shows both the
            field and the names in backticks as its options (`tessera.cli.options`).
    """

    def __init__(self, facts: str, *, field: str | None = None) -> None:
        super().__init__(facts if field is None else f"{field}: {facts}")
        self.facts = facts
        self.field = field


class PictureError(TesseraError):
    """A picture cannot be read or written."""


class LimitError(PictureError):
    """A picture, or its result, is larger than the limits allow."""


class WeightsError(TesseraError):
    """A weights file cannot be used."""


class UnsafeWeightsError(WeightsError):
    """A weights file refers to code that tensors do not need; it was not loaded."""


class UnknownNetworkError(WeightsError):
    """The keys of a weights file match no supported network."""


class ModelNotFoundError(TesseraError):
    """Unknown model name, or its file is not on this machine."""


class UnknownModelError(ModelNotFoundError, UsageError):
    """Unknown model name."""


class DownloadError(TesseraError):
    """A download failed, or its checksum does not match."""


class ExportError(TesseraError):
    """A model cannot be exported, or the exported file failed verification."""


class FileError(TesseraError):
    """A file that Tessera would write or read back is a link, a FIFO, a device, or larger than expected."""


class EngineError(TesseraError):
    """An engine cannot run here."""


class OutOfMemoryError(EngineError):
    """Out of memory even with the smallest tile."""


class DeviceLostError(EngineError):
    """A GPU stopped working: its driver reset it, or it was removed."""


class TrainingError(TesseraError):
    """A training run cannot start or continue; its checkpoints stay."""


class NonFiniteError(TesseraError):
    """The network returned NaN, infinity or black even in fp32."""


class Interrupted(TesseraError):  # noqa: N818 - not an error
    """The user or the system asked to stop; finished outputs stay."""
