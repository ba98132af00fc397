"""Digests of files, and numbers drawn from names: the same on every machine and in every run. Standard library only.

Python's own hash() of a string changes from run to run, so it must not decide what is training data.
"""

import hashlib
from pathlib import Path


def stable_number(*parts: object) -> int:
    """Integer in [0, 2^64) fixed by the parts, evenly spread."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


def stable_fraction(*parts: object) -> float:
    """Real number in [0, 1) fixed by the parts, evenly spread."""
    return (stable_number(*parts) >> 11) / 2**53


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
