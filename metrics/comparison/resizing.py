"""Pictures at the size of a comparison, and how they came to it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from commands.errors import UserError
from formats.pictures import read_picture

MAX_SIZE = 4096  # pixels a side; SSIM of larger pictures takes gigabytes a process


def check_size(size: int | None) -> int | None:
    """The side in pixels that pictures are compared at, if it can be; None is their own size.

    Raises:
        UserError: if it is not between 1 and MAX_SIZE.
    """
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise UserError(f"--size {size}: pictures are compared at 1 to {MAX_SIZE} pixels a side; give 256, say.")
    return size


def resize_picture(pixels: np.ndarray, size: int, height: int | None = None) -> np.ndarray:
    """uint8 (H, W, 3) => (height or size, size, 3): area average where it shrinks, bicubic where it grows."""
    height = height or size
    resampling = _resampling(pixels.shape[:2], (height, size))
    if resampling is None:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, height), resampling))


def _resampling(shape: tuple[int, int], wanted: tuple[int, int]) -> Image.Resampling | None:
    """How a picture of (height, width) comes to another size; None where it has it."""
    if shape == wanted:
        return None
    shrinks = wanted[0] <= shape[0] and wanted[1] <= shape[1]
    return Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC


def describe_resizing(paths: Iterable[Path], size: int) -> str:
    """What `resize_picture` does to some files: "area average", "bicubic", "not resized", or several of them."""
    found = set()
    for path in paths:
        with Image.open(path) as image:  # reads the head of the file
            width, height = image.size
        found.add(_resampling((height, width), (size, size)))
    names = {None: "not resized", Image.Resampling.BOX: "area average", Image.Resampling.BICUBIC: "bicubic"}
    return ", ".join(name for resampling, name in names.items() if resampling in found)


def read_pixels(path: Path, size: int | None = None) -> np.ndarray:
    """uint8 (H, W, 3) pixels of a file, resized to (size, size) if given."""
    pixels = read_picture(path).pixels
    return pixels if size is None else resize_picture(pixels, size)


def file_stamp(path: Path) -> tuple[str, int, int]:
    """Path, bytes and time of change of a file, on which a cached result depends; -1 where it is absent."""
    try:
        stat = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), stat.st_size, stat.st_mtime_ns
