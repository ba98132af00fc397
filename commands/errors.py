"""What a user reads when something fails: one sentence with the mend, and exit code 2. Standard library only.

The project raises UserError for whatever a user can mend; every other exception is a fault of ours and keeps its
traceback. What the system refuses (a full disk, a folder that cannot be written) is translated here, once.
"""

import errno
import re

BAD_INPUT = 2  # exit code
INTERRUPTED = 130  # exit code that shells give for Ctrl-C
TRAINING_MEMORY = (
    "lower data.params.batch_size and raise lightning.trainer.accumulate_grad_batches, set "
    "model.params.unet_config.params.use_checkpoint=true, or lower resolution"
)


class UserError(ValueError):
    """Something that a user can mend; the message says what came, what was wanted, and the mend."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that has to be there first; the message names it and the command that makes it."""


class MissingPackageError(UserError, ImportError):
    """An optional package that has to be installed first; the message says how."""


class NotFiniteError(UserError, FloatingPointError):
    """A loss or a weight that is NaN or infinite; the message names the samples."""


def from_worker(error: BaseException) -> str | None:
    """The sentence of a UserError that torch's loader process raised, out of torch's text around it; None if none.

    torch raises the same class again, with the whole traceback of the other process as its message.
    """
    text = str(error)
    if not re.match(r"Caught \w+ in DataLoader worker process", text):
        return None
    _, *messages = re.split(rf"^(?:\w+\.)*{type(error).__name__}: ", text, flags=re.MULTILINE)
    return messages[-1].strip() if messages else None


def sentence_of_system(error: OSError) -> str | None:
    """The sentence for what the operating system refused, or None where it has no errno: then it is not the system."""
    if error.errno is None:
        return None
    place = error.filename or "the output"
    if error.errno == errno.ENOSPC:
        return f"the disk is full, nothing half-written was kept ({place}); free space and run again."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"no permission to write or read {place}; choose another folder."
    if isinstance(error, FileNotFoundError):
        return f"there is no {place}, and it cannot be made there; check the path."
    return f"{place}: {error.strerror}; choose another path or free space."


def sentence_for(error: BaseException, out_of_memory: str = TRAINING_MEMORY) -> str | None:
    """The sentence for a user, or None where the error is ours and wants its traceback.

    Args:
        error: what was raised.
        out_of_memory: the mend where the GPU's memory is too small.
    """
    if isinstance(error, UserError):
        return from_worker(error) or str(error)
    if isinstance(error, OSError):
        return sentence_of_system(error)
    if isinstance(error, UnicodeEncodeError):  # of a name or sentence that came in bytes that are no UTF-8
        return f"{error.object[error.start : error.end]!r} cannot be written as text ({error.reason}); take it out."
    if isinstance(error, MemoryError):
        return "this machine's memory is too small for it; take smaller pictures, or fewer at once."
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which this module does not import
        return f"the GPU is out of memory; {out_of_memory}."
    return None
