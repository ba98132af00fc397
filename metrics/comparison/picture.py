"""Pictures from files, as uint8 RGB, with everything said that is unusual about them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from commands.errors import MissingFileError, UserError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Picture:
    """uint8 (H, W, 3) RGB pixels, what had to be done to get them, and where they came from."""

    pixels: np.ndarray
    remarks: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def size_text(self) -> str:
        """Width and height, "256x256"."""
        return f"{self.pixels.shape[1]}x{self.pixels.shape[0]}"


def read_picture(path: Path) -> Picture:
    """Read a picture of any usual kind as RGB.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, or a truncated one.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            depth = _bits_per_channel(path)
            image.load()
            return _to_rgb(image, depth, path)
    except FileNotFoundError as error:
        raise MissingFileError(f"no picture {path}.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not a picture; wanted PNG, JPEG, WebP or BMP.") from error
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{path} cannot be read whole ({error}); it is truncated or damaged, write it again."
        ) from error


def file_stamp(path: Path) -> tuple[str, int, int]:
    """Path, bytes and time of change of a file: what a cached result depends on; -1 where it is absent."""
    try:
        stat = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), stat.st_size, stat.st_mtime_ns


def resize_picture(pixels: np.ndarray, size: int, height: int | None = None) -> np.ndarray:
    """uint8 (H, W, 3) => (height or size, size, 3): area average where it shrinks, bicubic where it grows."""
    height = height or size
    if pixels.shape[:2] == (height, size):
        return pixels
    shrinks = height <= pixels.shape[0] and size <= pixels.shape[1]
    resampling = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((size, height), resampling))


def read_pixels(path: Path, size: int | None = None) -> np.ndarray:
    """uint8 (H, W, 3) pixels of a file, resized to (size, size) if given."""
    pixels = read_picture(path).pixels
    return pixels if size is None else resize_picture(pixels, size)


def _bits_per_channel(path: Path) -> int:
    """16 for a 16-bit PNG, which PIL opens as if it had 8; else 8."""
    with path.open("rb") as stream:
        head = stream.read(25)
    return head[24] if head.startswith(PNG_SIGNATURE) and len(head) == 25 else 8


def _to_rgb(image: Image.Image, depth: int, path: Path) -> Picture:
    remarks = []
    if depth == 16 or image.mode in SIXTEEN_BIT_MODES:
        remarks.append("16-bit, rounded to 8")
    if image.mode in SIXTEEN_BIT_MODES:
        levels = np.asarray(image, dtype=np.int64).clip(0, 65535)
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        opaque = np.asarray(image)[..., 3].min() == 255
        remarks.append("alpha channel dropped" if opaque else "transparent parts, alpha channel dropped")
    if image.mode in ("L", "1"):
        remarks.append("greyscale")
    return Picture(np.asarray(image.convert("RGB")), tuple(remarks), path)
