"""Pictures that people bring: of any mode, size and orientation, made into upright RGB. PIL only.

The training data go through ldm.data.frame_pairs instead, which takes what the prepared folder holds.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from commands.errors import MissingFileError, UserError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
MAX_PIXELS = 100_000_000  # decoded RGB of that size is 300 MB
TINY = 16  # pixels; a side below is smaller than what any network here sees as one patch or two
UPRIGHT = 1  # EXIF's orientation of a picture that needs no turning
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I")  # PIL clips these at 255 instead of scaling


@dataclass(frozen=True)
class OpenedPicture:
    """An upright RGB picture, and what had to be done to it, in words for its owner."""

    picture: Image.Image
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown."""
        return self.picture.size

    def squared(self, side: int) -> np.ndarray:
        """uint8 (side, side, 3): squashed to a square with a Lanczos filter, as training does."""
        if self.picture.size == (side, side):
            return np.asarray(self.picture)
        return np.asarray(self.picture.resize((side, side), Image.Resampling.LANCZOS))


def open_picture(source: Path | BinaryIO, name: str | None = None) -> OpenedPicture:
    """Read a picture: first frame, turned upright, without transparency, 8 bits.

    Args:
        source: a path or an open file.
        name: for messages; the path by default.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, is cut short, or has more than MAX_PIXELS.
    """
    name = name or str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(source)
        with file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise _TooLarge(f"{width}x{height} pixels")
            return _upright_rgb(file)
    except FileNotFoundError:
        raise MissingFileError(f"there is no picture {name}.") from None
    except (_TooLarge, Image.DecompressionBombError) as error:
        limit = MAX_PIXELS // 1_000_000
        raise UserError(f"{name} is too large ({error}); make it smaller than {limit} megapixels.") from None
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a readable picture (no known format).") from None
    except (OSError, SyntaxError, EOFError) as error:
        raise UserError(f"{name} is not a readable picture ({error}).") from error


class _TooLarge(Exception):
    """More pixels than are decoded."""


def _upright_rgb(file: Image.Image) -> OpenedPicture:
    notes = []
    if getattr(file, "n_frames", 1) > 1:
        notes.append(f"animated: the first of {file.n_frames} frames is taken")
        file.seek(0)
    size = file.size
    turned = ImageOps.exif_transpose(file)
    if file.getexif().get(ExifTags.Base.Orientation, UPRIGHT) != UPRIGHT:
        notes.append("turned upright as its EXIF tag says")
    if turned.mode in WIDE_MODES:
        notes.append("16 bits a pixel reduced to 8")
        turned = Image.fromarray((np.asarray(turned).clip(0, 65535) / 257).round().astype(np.uint8))
    if turned.has_transparency_data:
        notes.append("transparency laid over white")
        layer = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if min(size) < TINY:
        notes.append(f"only {size[0]}x{size[1]} pixels, so little can be seen")
    return OpenedPicture(turned.convert("RGB"), tuple(notes))
