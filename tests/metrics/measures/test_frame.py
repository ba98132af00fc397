import math

import pytest

from metrics.measures.columns import MEASURES, PIXEL_KEYS, parse_measures, with_as_published
from metrics.measures.frame import measure_frames
from tests.metrics.conftest import moving_square, noisy_picture


def test_perfect_prediction_is_perfect_in_every_pixel_measure():
    """inf, 1 or 0, whichever is best; MS-SSIM and the colours that are not there are unknown."""
    source, truth = moving_square(0), moving_square(7)
    values = measure_frames(source, truth, truth, PIXEL_KEYS)
    assert all(value == math.inf for key, value in values.items() if key.startswith("psnr"))
    assert all(value == pytest.approx(1.0) for key, value in values.items() if key.startswith(("ssim", "iou")))
    assert values["copyness"] == values["block_error"] == values["block_lost"] == 0.0
    assert math.isnan(values["ms_ssim"]) and math.isnan(values["block_error_blue"])


def test_copying_the_input_is_right_exactly_where_nothing_moved():
    """Half of the moved square is wrong in motion; its own motion is empty."""
    source, truth = moving_square(0), moving_square(7)
    values = measure_frames(source, source, truth, ("psnr", "psnr_motion", "iou_motion", "copyness"))
    moved_share = 32 / 256
    assert values["psnr"] - values["psnr_motion"] == pytest.approx(-10 * math.log10(moved_share))
    assert values["iou_motion"] == 0.0 and values["copyness"] == 1.0
    unknown = measure_frames(source, source, source, ("psnr_motion", "ssim_motion", "iou_motion", "copyness"))
    assert all(math.isnan(value) for value in unknown.values()), "without motion"


def test_a_measure_does_not_depend_on_what_else_is_asked_for():
    frames = [noisy_picture(seed, 32) for seed in range(3)]
    together = measure_frames(*frames, PIXEL_KEYS)
    for key in PIXEL_KEYS:
        (alone,) = measure_frames(*frames, (key,)).values()
        assert alone == together[key] or math.isnan(alone) and math.isnan(together[key])


def test_as_published_never_stands_alone():
    assert with_as_published(("ssim", "psnr_motion")) == ("ssim", "ssim_as_published", "psnr_motion")
    assert parse_measures("psnr_as_published,ssim") == ("psnr", "psnr_as_published", "ssim")
    with pytest.raises(ValueError, match="no measure 'pnsr'; there are psnr, ssim"):
        parse_measures("pnsr")
    headings = [MEASURES[name].heading for name in ("psnr", "block_error")]
    assert headings == ["PSNR dB ↑", "Block error px ↓"], "headings say which way is better"
