"""Pictures between files and arrays: decode, check, resize, encode. Pillow and numpy, no torch.

RoboTwin 2.0 hands an RGB array to OpenCV's JPEG encoder, which takes it for BGR; so a decoder that keeps to the
JPEG standard (Pillow) returns red and blue swapped. Files written since September 2026 are true RGB and say so in
a JPEG comment (RoboTwin pull request 500).
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from commands.errors import UserError

TRUE_RGB_COMMENT = b"XPL-RGB1"  # JPEG comment of RoboTwin files whose bytes are true RGB
JPEG_QUALITY = 95
PICTURE_FORMATS = ("jpg", "png")


def decode_picture(content: bytes, *, where: str) -> np.ndarray:
    """JPEG or PNG bytes in the standard's own colour order => uint8 (H, W, 3) RGB."""
    return np.asarray(_decode(content, where))


def decode_robotwin(content: bytes, *, where: str) -> np.ndarray:
    """JPEG bytes as RoboTwin 2.0 stores them => uint8 (H, W, 3) RGB, red being red in both conventions."""
    picture = _decode(content, where)
    if picture.info.get("comment") == TRUE_RGB_COMMENT:
        return np.asarray(picture)
    # Pillow swaps while it copies; numpy's [..., ::-1] would take longer than decoding the JPEG.
    swapped = picture.tobytes("raw", "BGR")
    return np.frombuffer(swapped, np.uint8).reshape(picture.height, picture.width, 3)


def check_frame(frame: object, *, where: str) -> np.ndarray:
    """The frame itself, if it is a uint8 (H, W, 3) picture.

    Raises:
        UserError: if dtype or shape differ.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        came = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise UserError(f"{where} is {came}, wanted a uint8 (H, W, 3) RGB picture; record the episode again.")
    return frame


def resize_picture(pixels: np.ndarray, size: int | None) -> np.ndarray:
    """Square picture of size x size, LANCZOS with Pillow's area support (no aliasing); None keeps the size.

    A 4:3 frame is squeezed to the square, not cropped, as the papers do.
    """
    if size is None or pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def encode_picture(pixels: np.ndarray, picture_format: str = "jpg", quality: int = JPEG_QUALITY) -> bytes:
    """uint8 (H, W, 3) RGB => bytes of a JPEG (4:4:4, full colour resolution) or a PNG (exact)."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    if picture_format == "png":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def read_picture(path: Path) -> np.ndarray:
    """Picture file => uint8 (H, W, 3) RGB."""
    return decode_picture(read_file(path), where=str(path))


def read_file(path: Path) -> bytes:
    """Bytes of a file.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error


def _decode(content: bytes, where: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{where} is not a whole picture ({len(content)} bytes: {error}); copy or record the episode again."
        ) from error
    return picture if picture.mode == "RGB" else _keeping_info(picture)


def _keeping_info(picture: Image.Image) -> Image.Image:
    converted = picture.convert("RGB")
    converted.info = picture.info
    return converted
