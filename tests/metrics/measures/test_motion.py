import numpy as np
import pytest

from metrics.measures.motion import MOTION_THRESHOLD, measure_copyness, measure_iou, motion_mask
from tests.metrics.conftest import moving_square


def test_mask_is_where_the_square_was_or_is():
    mask = motion_mask(moving_square(0), moving_square(7))
    expected = np.zeros((16, 16), bool)
    expected[6:10, 1:5] = expected[6:10, 8:12] = True
    assert (mask == expected).all()


def test_change_up_to_the_threshold_is_noise():
    """The difference is taken without uint8 wrap-around, in any channel, in both directions."""
    still = np.full((4, 4, 3), 250, np.uint8)
    changed = still.copy()
    changed[0, 0, 1] -= MOTION_THRESHOLD
    changed[1, 1, 2] -= MOTION_THRESHOLD + 1
    assert np.argwhere(motion_mask(still, changed)).tolist() == [[1, 1]]
    assert (motion_mask(still, changed) == motion_mask(changed, still)).all()


def test_iou_counts_pixels():
    a, b = np.zeros((2, 2), bool), np.zeros((2, 2), bool)
    a[0], b[:, 0] = True, True
    assert measure_iou(a, b) == pytest.approx(1 / 3)


def test_copyness_is_the_share_of_the_moved_region_that_still_shows_the_input():
    source, truth = moving_square(0), moving_square(7)
    mask = motion_mask(source, truth)
    half = truth.copy()
    half[6:10, 1:5] = source[6:10, 1:5]
    assert [measure_copyness(source, p, mask) for p in (source, half, truth)] == [1.0, 0.5, 0.0]
