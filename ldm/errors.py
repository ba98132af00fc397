"""What a user reads when something fails: one sentence with the mend, and exit code 2. Layer 0.

The project raises ValueError, FileNotFoundError and ConfigError for what a user can mend. The same classes raised
inside a library mean a fault of ours, and keep their traceback.
"""

import errno
import re
import traceback
from pathlib import Path

BAD_INPUT = 2  # exit code
TRAINING_MEMORY = (
    "lower data.params.batch_size and raise lightning.trainer.accumulate_grad_batches, set "
    "model.params.unet_config.params.use_checkpoint=true, or lower resolution"
)

PROJECT = Path(__file__).resolve().parent.parent


def _raised_here(error: BaseException) -> bool:
    """Whether the error was raised by a line of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    return _is_ours(frames[-1].filename)


def _is_ours(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(PROJECT) and "site-packages" not in path.parts


def _from_worker(error: BaseException) -> str | None:
    """The message that a line of this project raised in a loader's process, out of torch's text around it."""
    text = str(error)
    if not re.match(r"Caught \w+ in DataLoader worker process", text):
        return None
    _, *places = re.split(r'^ *File "(.+)", line \d+.*\n', text, flags=re.MULTILINE)
    if not places:
        return None
    file, rest = places[-2:]
    found = re.search(rf"^(?:\w+\.)*{type(error).__name__}: (.*)", rest, flags=re.MULTILINE | re.DOTALL)
    return found[1].strip() if found and _is_ours(file) else None


def sentence_for(error: BaseException, out_of_memory: str = TRAINING_MEMORY) -> str | None:
    """The sentence for a user, or None where the error is ours and wants its traceback.

    Args:
        error: what was raised.
        out_of_memory: the mend where the GPU's memory is too small.
    """
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"the disk is full, nothing half-written was kept ({error.filename or 'output'}); free space and run again."
        )
    if isinstance(error, PermissionError):
        return f"no permission to write or read {error.filename}; choose another folder."
    if isinstance(error, FileNotFoundError | ValueError | FloatingPointError):
        return str(error) if _raised_here(error) else _from_worker(error)
    if isinstance(error, ImportError) and error.name is None and _raised_here(error):  # Python's own have a name
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return f"the GPU is out of memory; {out_of_memory}."
    return None
