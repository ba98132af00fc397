"""Laws of opening pictures that people bring: upright, RGB, 8 bits, or one sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from commands.errors import UserError
from formats.pictures import MAX_PIXELS, open_picture, read_picture

RED, BLUE = (255, 0, 0), (0, 0, 255)


def half_red_half_blue(width=40, height=20):
    """Left red, right blue."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


def saved(picture, format="PNG", **how):
    file = io.BytesIO()
    picture.save(file, format, **how)
    file.seek(0)
    return file


def test_an_exif_tag_is_obeyed():
    """Orientation 6: the camera lay on its side; the left of the file is the top of the picture."""
    exif = Image.Exif()
    exif[274] = 6
    opened = open_picture(saved(half_red_half_blue(), exif=exif))
    assert opened.size == (20, 40)
    assert opened.image.getpixel((10, 2)) == RED and opened.image.getpixel((10, 38)) == BLUE
    assert "upright" in opened.notes[0]
    for format in ("TIFF", "JPEG"):
        assert open_picture(saved(half_red_half_blue(), format)).notes == ()


def test_the_first_of_several_frames_is_taken():
    first, second = Image.new("RGB", (20, 20), RED), Image.new("RGB", (20, 20), BLUE)
    opened = open_picture(saved(first, "GIF", save_all=True, append_images=[second]))
    assert opened.image.getpixel((5, 5)) == RED
    assert "first of 2 frames" in opened.notes[0]


def test_transparency_lies_over_white_and_hides_what_is_under_it():
    opened = open_picture(saved(Image.new("RGBA", (20, 20), (255, 0, 0, 0))))
    assert opened.image.getpixel((5, 5)) == (255, 255, 255)
    assert "white" in opened.notes[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode):
    """Grey stays grey; 16 bits are scaled, not clipped."""
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 20), 128 * 257, np.uint16))
    else:
        grey = Image.new("RGB", (20, 20), (255,) * 3 if mode == "1" else (128,) * 3)
        picture = grey.quantize(4) if mode == "P" else grey.convert(mode)
    opened = open_picture(saved(picture, "TIFF" if mode == "CMYK" else "PNG"))
    assert opened.image.mode == "RGB"
    expected = 255 if mode == "1" else 128
    assert np.abs(np.asarray(opened.image).astype(int) - expected).max() <= 2


def header_of_png(width, height):
    """A PNG that says its size and holds next to nothing."""
    parts = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))):
        parts += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return io.BytesIO(parts)


@pytest.mark.parametrize("size", [(10_001, 10_000), (30_000, 30_000)])
def test_more_than_a_hundred_megapixels_are_refused_undecoded(size):
    assert size[0] * size[1] > MAX_PIXELS
    with pytest.raises(ValueError, match="too large .* smaller than 100 megapixels"):
        open_picture(header_of_png(*size), "huge.png")


def test_a_square_picture_is_not_touched_and_a_tiny_one_taken_and_said():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    opened = open_picture(saved(Image.fromarray(pixels)))
    assert np.array_equal(opened.squared(16), pixels) and opened.notes == ()
    for size in ((1, 1), (3, 200)):
        opened = open_picture(saved(Image.new("RGB", size, RED)))
        assert opened.squared(8).shape == (8, 8, 3) and "little can be seen" in opened.notes[0]


def test_a_stored_picture_is_not_turned_and_loses_its_alpha_channel():
    exif = Image.Exif()
    exif[274] = 6
    picture = half_red_half_blue().convert("RGBA")
    picture.putalpha(0)
    stored = read_picture(saved(picture, exif=exif).getvalue())
    assert stored.size == (40, 20) and tuple(stored.pixels[0, 0]) == RED
    assert stored.notes == ("transparent parts, alpha channel dropped",)
    assert read_picture(saved(Image.new("L", (20, 20))).getvalue()).notes == ("greyscale",)


def test_both_readers_reduce_sixteen_bits_alike():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    file = saved(Image.fromarray(levels)).getvalue()
    expected = np.rint(levels / 257).astype(np.uint8)
    for read in (open_picture, read_picture):
        assert np.array_equal(read(file).pixels[..., 0], expected)
        assert read(file).notes[0] == "16-bit, rounded to 8"


def test_a_text_bomb_in_a_png_is_refused():
    """A compressed comment of 100 MB, which PIL refuses by an error of its own."""
    data = b"a\0\0" + zlib.compress(b"0" * 10**8, 1)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    plain = saved(half_red_half_blue()).getvalue()
    with pytest.raises(UserError, match="not a readable picture"):
        open_picture(plain[:33] + chunk + plain[33:])


def test_what_is_no_picture_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no picture"):
        open_picture(tmp_path / "absent.png")
    with pytest.raises(UserError, match="no regular file"):
        open_picture(tmp_path)
    for name, content in (("text.png", b"hello"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="not a readable picture"):
            open_picture(tmp_path / name)
    with pytest.raises(ValueError, match="not a readable picture"):
        open_picture(io.BytesIO(saved(half_red_half_blue(400, 400)).getvalue()[:200]), "cut.png")
