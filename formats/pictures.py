"""Pictures between files and arrays: open, check, resize, encode, and what was done to them. PIL and numpy.

There are two readers: `read_picture` reads a file as stored (data sets, predictions to be measured), `open_picture` as
a person sees it (turned upright, without transparency). A hostile or damaged file ends in one sentence; nothing is
decoded before the size that the file declares has been checked.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from commands.errors import MissingFileError, UserError
from formats.atomic import read_file

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
PICTURE_FORMATS = ("jpg", "png")  # that `encode_picture` writes
JPEG_QUALITY = 95
MAX_PIXELS = 100_000_000  # decoded RGB of that size is 300 MB
MAX_BYTES = 2**30  # of a picture's file
TINY = 16  # pixels; a side below is smaller than what any network here sees as one patch or two
UPRIGHT = 1  # EXIF's orientation of a picture that needs no turning
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # PIL clips these at 255 instead of scaling
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """An RGB picture, and what had to be done to it, in words for its owner."""

    image: Image.Image
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (H, W, 3) RGB."""
        return np.asarray(self.image)

    def squared(self, side: int) -> np.ndarray:
        """uint8 (side, side, 3): squashed to a square with a Lanczos filter, as training does."""
        return resize_square(self.pixels, side)


def open_picture(source: Path | bytes | BinaryIO, name: str | None = None) -> Picture:
    """A picture as a person sees it: first frame, turned upright, transparency over white, 8 bits.

    Args:
        source: a path, a file's bytes, or an open file.
        name: for messages; the path by default.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if it is no picture, is cut short, or has more than MAX_PIXELS.
    """
    return _decode(source, name, as_seen=True)


def read_picture(source: Path | bytes, name: str | None = None) -> Picture:
    """A picture as it is stored: first frame, not turned, an alpha channel dropped, 8 bits.

    Args, Raises: as `open_picture`.
    """
    return _decode(source, name, as_seen=False)


def _decode(source: Path | bytes | BinaryIO, name: str | None, *, as_seen: bool) -> Picture:
    path = Path(source) if isinstance(source, str | Path) else None
    name = name or (str(path) if path else "the picture")
    if path is not None:
        try:
            source = read_file(path, MAX_BYTES)
        except MissingFileError:
            raise MissingFileError(f"there is no picture {name}.") from None
    content = source if isinstance(source, bytes) else source.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(io.BytesIO(content))
        if file.width * file.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{file.width}x{file.height} pixels")
        return _upright_rgb(file, path) if as_seen else _stored_rgb(file, path, wide=_is_wide(content))
    except Image.DecompressionBombError as error:
        limit = MAX_PIXELS // 1_000_000
        raise UserError(f"{name} is too large ({error}); make it smaller than {limit} megapixels.") from None
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a readable picture (no known format).") from None
    except MemoryError:
        raise
    except Exception as error:  # PIL's decoders raise whatever a damaged file leads them to
        raise UserError(f"{name} is not a readable picture ({error}); it is cut short or damaged.") from error


def _upright_rgb(file: Image.Image, path: Path | None) -> Picture:
    notes, size = [], file.size
    if getattr(file, "n_frames", 1) > 1:
        notes.append(f"animated: the first of {file.n_frames} frames is taken")
        file.seek(0)
    if file.getexif().get(ExifTags.Base.Orientation, UPRIGHT) != UPRIGHT:
        notes.append("turned upright as its EXIF tag says")
        file = ImageOps.exif_transpose(file)
    if file.mode in WIDE_MODES:
        notes.append("16-bit, rounded to 8")
        file = _narrow(file)
    if file.has_transparency_data:
        notes.append("transparency laid over white")
        layer = file if file.mode == "RGBA" else file.convert("RGBA")
        file = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if min(size) < TINY:
        notes.append(f"only {size[0]}x{size[1]} pixels, so little can be seen")
    return Picture(_rgb(file), tuple(notes), path)


def _stored_rgb(file: Image.Image, path: Path | None, *, wide: bool) -> Picture:
    notes = []
    if wide or file.mode in WIDE_MODES:
        notes.append("16-bit, rounded to 8")
    if file.mode in WIDE_MODES:
        file = _narrow(file)
    if "A" in file.getbands() or "transparency" in file.info:
        file = file.convert("RGBA")
        opaque = file.getextrema()[3][0] == 255
        notes.append("alpha channel dropped" if opaque else "transparent parts, alpha channel dropped")
    if file.mode in ("L", "1"):
        notes.append("greyscale")
    return Picture(_rgb(file), tuple(notes), path)


def _rgb(file: Image.Image) -> Image.Image:
    """The decoded picture in RGB; a copy is made only where the mode changes."""
    file.load()
    return file if file.mode == "RGB" else file.convert("RGB")


def _is_wide(content: bytes) -> bool:
    """Whether it is a 16-bit PNG, which PIL opens as if it had 8 bits a channel."""
    return content.startswith(PNG_SIGNATURE) and content[24:25] == b"\x10"


def _narrow(file: Image.Image) -> Image.Image:
    """16 bits of grey to 8, rounded: 65535 becomes 255."""
    levels = np.asarray(file, dtype=np.int64).clip(0, 65535)
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def resize_square(pixels: np.ndarray, side: int | None) -> np.ndarray:
    """Square picture of side x side, Lanczos with Pillow's area support (no aliasing); None keeps the size.

    A 4:3 frame is squeezed to the square, not cropped, as the papers do.
    """
    if side is None or pixels.shape[:2] == (side, side):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def check_frame(frame: object, *, where: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """The frame itself, if it is a uint8 (H, W, 3) picture, and of `shape`, that of the episode's others, where given.

    Raises:
        UserError: if dtype or shape differ.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        came = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise UserError(f"{where} is {came}, wanted a uint8 (H, W, 3) RGB picture; record the episode again.")
    if shape is not None and frame.shape != shape:
        raise UserError(
            f"{where} is {frame.shape[1]}x{frame.shape[0]}, others are {shape[1]}x{shape[0]}; an episode has one frame "
            "size, so remove this episode."
        )
    return frame


def encode_picture(pixels: np.ndarray, picture_format: str = "jpg", quality: int = JPEG_QUALITY) -> bytes:
    """uint8 (H, W, 3) RGB => bytes of a JPEG (4:4:4, full colour resolution) or a PNG (exact)."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    if picture_format == "png":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
