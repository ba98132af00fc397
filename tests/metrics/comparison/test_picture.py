import numpy as np
import pytest
from PIL import Image

from metrics.comparison.picture import read_picture, read_pixels, resize_picture
from tests.metrics.conftest import noisy_picture


def test_rgb_picture_comes_back_unchanged_and_unremarked(tmp_path):
    pixels = noisy_picture(0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert (picture.pixels == pixels).all()
    assert picture.remarks == ()


@pytest.mark.parametrize(
    ("image", "remark"),
    [
        (Image.new("L", (8, 8), 7), "greyscale"),
        (Image.new("RGBA", (8, 8), (1, 2, 3, 255)), "alpha channel dropped"),
        (Image.new("RGBA", (8, 8), (1, 2, 3, 100)), "transparent parts, alpha channel dropped"),
        (Image.fromarray(np.full((8, 8), 257 * 7, np.uint16)), "16-bit, rounded to 8"),
    ],
)
def test_unusual_kinds_are_read_and_named(tmp_path, image, remark):
    image.save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert remark in picture.remarks
    assert picture.pixels.shape == (8, 8, 3)
    assert picture.pixels[0, 0].tolist() in ([7, 7, 7], [1, 2, 3])


def test_truncated_absent_and_no_pictures_are_named(tmp_path):
    Image.fromarray(noisy_picture(0, 64)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"cut\.png cannot be read whole .*truncated"):
        read_picture(tmp_path / "cut.png")
    with pytest.raises(ValueError, match=r"text\.png is not a picture"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="no picture"):
        read_picture(tmp_path / "absent.png")


def test_shrinking_by_a_whole_factor_averages_areas(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = 200
    pixels[2, 2] = 200
    assert resize_picture(pixels, 2)[..., 0].tolist() == [[200, 0], [0, 50]]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png", 8).shape == (8, 8, 3)
