import numpy as np
from PIL import Image

from metrics.comparison.resizing import describe_resizing, read_pixels, resize_picture


def test_shrinking_by_a_whole_factor_averages_areas(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = 200
    pixels[2, 2] = 200
    assert resize_picture(pixels, 2)[..., 0].tolist() == [[200, 0], [0, 50]]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png", 8).shape == (8, 8, 3)


def test_what_is_said_of_resizing_is_what_is_done(tmp_path):
    for side in (4, 16):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    small, large = tmp_path / "4.png", tmp_path / "16.png"
    assert describe_resizing([large], 8) == "area average"
    assert describe_resizing([small], 8) == "bicubic"
    assert describe_resizing([small, large], 16) == "not resized, bicubic"
