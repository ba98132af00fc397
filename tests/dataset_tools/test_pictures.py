"""Laws of pictures: red stays red, sizes are honoured, damage is named."""

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.pictures import (
    check_frame,
    decode_picture,
    decode_robotwin,
    encode_picture,
    read_picture,
    resize_picture,
)
from dataset_tools.writers.robotwin import encode_jpeg
from tests.dataset_tools.layouts import WIDTH, read_index, square_frames


@pytest.fixture
def frame() -> np.ndarray:
    return square_frames(20)[17]


def test_png_keeps_every_pixel(frame):
    assert np.array_equal(decode_picture(encode_picture(frame, "png"), where="x"), frame)


def test_jpeg_keeps_colours_within_a_few_levels(frame):
    """4:4:4: a red block's edge does not bleed, as it would with halved colour resolution."""
    decoded = decode_picture(encode_picture(frame), where="x")
    assert np.abs(decoded.astype(int) - frame).mean() < 1


@pytest.mark.parametrize("true_rgb", [False, True])
def test_red_is_red_in_both_conventions_of_robotwin(frame, true_rgb):
    assert read_index(decode_robotwin(encode_jpeg(frame, true_rgb=true_rgb), where="x")) == 17


def test_the_standard_decoder_would_swap_red_and_blue(frame):
    """What the two conventions are about: RoboTwin 2.0's bytes read by the book are wrong."""
    by_the_book = decode_picture(encode_jpeg(frame, true_rgb=False), where="x")
    assert read_index(by_the_book[..., ::-1]) == 17


def test_resizing_gives_the_asked_square_and_keeps_the_place(frame):
    small = resize_picture(frame, WIDTH // 2)
    assert small.shape == (WIDTH // 2, WIDTH // 2, 3) and read_index(small) == 17
    assert resize_picture(frame, None) is frame


def test_resizing_averages_instead_of_skipping_pixels():
    """A one-pixel checkerboard becomes grey; nearest-neighbour would make it black or white."""
    board = np.repeat((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    assert np.abs(resize_picture(board, 16).astype(int) - 127).max() < 16


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), "text", None]
)
def test_anything_but_a_uint8_picture_is_refused(wrong):
    with pytest.raises(UserError, match="wanted a uint8"):
        check_frame(wrong, where="frame 3")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a picture"])
def test_a_damaged_picture_is_named(frame, damage):
    with pytest.raises(UserError, match=r"frame 3 .*not a whole picture"):
        decode_picture(damage(encode_picture(frame)), where="frame 3 of x")


def test_an_absent_picture_is_named(tmp_path):
    with pytest.raises(UserError, match="absent.png"):
        read_picture(tmp_path / "absent.png")
