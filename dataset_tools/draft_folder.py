"""Folders that are whole or absent: written under a temporary name, then renamed. Standard library only."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands.errors import UserError


@contextmanager
def draft_folder(output: Path) -> Iterator[Path]:
    """Empty folder `<output>.partial` to write into; renamed to `output` when the block ends well.

    What an interrupted run left under the temporary name is deleted first.

    Raises:
        UserError: if `output` is there and holds something.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty; delete it or choose another --output.")
    draft = output.with_name(output.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    if output.exists():
        output.rmdir()
    draft.rename(output)
