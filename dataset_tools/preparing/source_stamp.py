"""Whether recorded files are still the same: a cheap hash of their names, sizes and some of their bytes.

No times of change: a copy on another machine is the same recording.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

INDEX, PARTS = "index.jsonl", ".parts"  # either marks a prepared folder, whole or begun
SAMPLED_BYTES = 16 * 1024  # read at the start, the middle and the end
RECORDED = (".pkl", ".hdf5", ".h5", ".jpg", ".jpeg", ".png", ".mp4", ".parquet")


def stamp_sources(sources: Iterable[Path]) -> str:
    """SHA-256 over the files of the sources (files or folders), each once; what is absent counts as empty.

    Of a folder every file enters with name and size, and the first, the middle and the last with sampled bytes.
    """
    stamp = hashlib.sha256()
    for source in dict.fromkeys(sources):
        files = [source] if source.is_file() else sorted(_files_below(source))
        for path in files:
            stamp.update(f"{path.relative_to(source).as_posix()} {path.stat().st_size}\n".encode())
        for position in sorted({0, len(files) // 2, len(files) - 1} if files else ()):
            stamp.update(_sample(files[position]))
    return stamp.hexdigest()


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of recordings; not those in hidden folders or a prepared folder, which may lie among them."""
    for place, folders, names in os.walk(folder):
        if INDEX in names or PARTS in folders:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place) / name for name in names if name.lower().endswith(RECORDED))
        yield from (path for path in paths if path.is_file())  # a pipe would be waited for


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        parts = []
        for start in (0, (size - SAMPLED_BYTES) // 2, size - SAMPLED_BYTES):
            file.seek(max(0, start))
            parts.append(file.read(SAMPLED_BYTES))
    return b"".join(parts)
