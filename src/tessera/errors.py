"""Every error that Tessera raises on purpose, drawn as a tree.

::

    TesseraError
    ├── UsageError            the command or call cannot be carried out as written   exit 2
    ├── PictureError          a picture cannot be read or written
    │   └── LimitError        a picture, or what it would become, is larger than allowed
    ├── WeightsError          a weights file cannot be used
    │   ├── UnsafeWeightsError    it names things that a weights file has no need of
    │   └── UnknownNetworkError   its keys belong to no network of the family
    ├── ModelNotFoundError    the file of a model is not here
    │   └── UnknownModelError     no such name in the zoo (also a UsageError)      exit 2
    ├── DownloadError         a file could not be fetched whole
    ├── ExportError           a model cannot be written for another program, or what was written is not the model
    ├── EngineError           an engine cannot run here
    │   └── OutOfMemoryError      not even the smallest tile fits
    ├── TrainingError         a training run cannot begin, or cannot go on
    ├── NonFiniteError        the network gave NaN, infinity or black at full precision
    └── Interrupted           the user or the system asked to stop

Each message is a sentence that a user can act on: where, what was expected, what was found, what to do next.
A traceback is shown only for what is not in this tree, because that is a bug.
"""


class TesseraError(Exception):
    """Root of every error that is raised on purpose; its text is meant for the user."""


class UsageError(TesseraError, ValueError):
    """The command or the call cannot be carried out as written."""


class PictureError(TesseraError):
    """A picture cannot be read or written."""


class LimitError(PictureError):
    """A picture, or what it would become, is larger than the limits in force."""


class WeightsError(TesseraError):
    """A weights file cannot be used."""


class UnsafeWeightsError(WeightsError):
    """A weights file names things that tensors have no need of; it was not opened further."""


class UnknownNetworkError(WeightsError):
    """The keys of a weights file belong to no network of the ESRGAN family."""


class ModelNotFoundError(TesseraError):
    """No model of this name is known, or its file is not on this machine."""


class UnknownModelError(ModelNotFoundError, UsageError):
    """No model is called so."""


class DownloadError(TesseraError):
    """A file could not be fetched whole, or is not the file that was expected."""


class ExportError(TesseraError):
    """A model cannot be written in a format, or what was written does not do what the model does."""


class EngineError(TesseraError):
    """An engine cannot run here."""


class OutOfMemoryError(EngineError):
    """Memory ran out even at the smallest tile."""


class TrainingError(TesseraError):
    """A training run cannot begin or go on; what it had reached is kept."""


class NonFiniteError(TesseraError):
    """The network gave NaN, infinity or black even at full precision."""


class Interrupted(TesseraError):  # noqa: N818 - it is no error
    """The user or the system asked to stop; what was finished before is kept."""
