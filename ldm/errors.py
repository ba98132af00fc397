"""What a user reads when something fails: one sentence with the mend, and exit code 2. Layer 0.

The project raises ValueError, FileNotFoundError and ConfigError for what a user can mend. The same classes raised
inside a library mean a fault of ours, and keep their traceback.
"""

import errno
import traceback
from pathlib import Path

BAD_INPUT = 2  # exit code

PROJECT = Path(__file__).resolve().parent.parent


def _raised_here(error: BaseException) -> bool:
    """Whether the error was raised by a line of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    path = Path(frames[-1].filename)
    return path.is_relative_to(PROJECT) and "site-packages" not in path.parts


def sentence_for(error: BaseException) -> str | None:
    """The sentence for a user, or None where the error is ours and wants its traceback."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"the disk is full, nothing half-written was kept ({error.filename or 'output'}); free space and run again."
        )
    if isinstance(error, PermissionError):
        return f"no permission to write or read {error.filename}; choose another folder."
    if isinstance(error, FileNotFoundError | ValueError | FloatingPointError) and _raised_here(error):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "the GPU is out of memory; lower data.params.batch_size and raise "
            "lightning.trainer.accumulate_grad_batches, set model.params.unet_config.params.use_checkpoint=true, "
            "or lower resolution."
        )
    return None
