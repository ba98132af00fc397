import math

import numpy as np
import pytest

from metrics.measures import MEASURES, measure_frames, measure_iou, with_as_published
from tests.metrics.conftest import moving_square


def test_perfect_prediction_is_perfect_in_every_pixel_measure():
    source, truth = moving_square(0), moving_square(7)
    values = measure_frames(source, truth, truth, MEASURES)
    for key in ("psnr", "psnr_motion", "psnr_as_published"):
        assert values[key] == math.inf
    for key in ("ssim", "ssim_uniform", "ssim_motion", "ssim_as_published", "iou_motion"):
        assert values[key] == pytest.approx(1.0)


def test_copying_the_input_is_right_exactly_where_nothing_moved():
    """Half of the moved square is wrong in motion; its own motion is empty."""
    source, truth = moving_square(0), moving_square(7)
    values = measure_frames(source, source, truth, ("psnr", "psnr_motion", "iou_motion"))
    moved_share = 32 / 256
    assert values["psnr"] - values["psnr_motion"] == pytest.approx(-10 * math.log10(moved_share))
    assert values["iou_motion"] == 0.0


def test_without_motion_motion_measures_are_unknown():
    still = moving_square(0)
    values = measure_frames(still, still, still, ("psnr_motion", "ssim_motion", "iou_motion"))
    assert all(math.isnan(value) for value in values.values())


def test_iou_counts_pixels():
    a, b = np.zeros((2, 2), bool), np.zeros((2, 2), bool)
    a[0], b[:, 0] = True, True
    assert measure_iou(a, b) == pytest.approx(1 / 3)


def test_as_published_never_stands_alone():
    assert with_as_published(("ssim", "psnr_motion")) == ("ssim", "ssim_as_published", "psnr_motion")
