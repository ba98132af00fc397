"""Files that are whole or absent: write to a temporary name, then rename. Standard library only."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary name beside `path` to write to; renamed to `path` when the block ends well, removed when it does not.

    The temporary name ends in the same suffix as `path` (writers choose a format by it) and is unique to the
    process, so two writers of one file cannot mix their bytes.

    Raises:
        OSError: as the block raised it (a full disk, say), after the half-written file was removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; non-ASCII letters stay readable."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
