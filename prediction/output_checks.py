"""Whether outputs can be written, and replace no picture of the user's: asked before anything is loaded."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from commands.errors import UserError


def check_writable(path: Path) -> Path:
    """The path itself, if a file can be written there; tried with a file without a name.

    Raises:
        UserError: naming the file or folder that is in the way, or the folder that takes no files.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise UserError(f"{path} cannot be written: {there} is a file, not a folder; choose another name.")
    if path.is_dir():
        raise UserError(f"{path} cannot be written: it is a folder; choose another name.")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {there} takes no files ({error.strerror}); choose another folder."
        ) from error
    return path


def check_overwrites(brought: Sequence[Path], targets: Sequence[Path], rollout: bool, video: Path | None) -> None:
    """Refuse outputs that would replace a picture of the user's.

    Args:
        brought: all pictures in the input, predicted from or not.
        targets: files that will be written.
        rollout: whether a folder of frames is written beside each target.
        video: that will be written.

    Raises:
        UserError: naming the picture.
    """
    originals = {path.resolve(): path for path in brought}
    written = [*targets, *([video] if video else [])]
    lost = next((originals[path.resolve()] for path in written if path.resolve() in originals), None)
    if lost is None and rollout:
        folders = {target.with_suffix("").resolve() for target in targets}
        lost = next((path for whole, path in originals.items() if whole.parent in folders), None)
    if lost is not None:
        raise UserError(f"{lost} is the input itself and could be overwritten; choose another name or folder.")
