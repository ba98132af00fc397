"""Laws of motion, blocks and wrapped values."""

import math

import numpy as np
import pytest

from formats.tasks import colours_of
from metrics.measures.blocks import find_block, measure_blocks
from metrics.measures.motion import MOTION_THRESHOLD, measure_copyness, measure_iou, motion_mask
from metrics.measures.wrap_around import looks_wrapped, speck_share
from tests.metrics.conftest import moving_square, noisy_picture


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


COLOURS = {"red": (230, 20, 15), "black": (5, 4, 6), "blue": (20, 30, 220), "green": (10, 200, 30)}


def _scene(**places):
    """Light grey with 4 x 4 blocks, by colour, at (row, column) of their first pixel."""
    frame = np.full((32, 32, 3), 200, np.uint8)
    for colour, (row, column) in places.items():
        frame[row : row + 4, column : column + 4] = COLOURS[colour]
    return frame


@pytest.mark.parametrize("colour", COLOURS)
def test_centroid_is_the_middle_of_the_block(colour):
    assert find_block(_scene(**{colour: (10, 20)}), colour) == (11.5, 21.5)
    assert find_block(_scene(), colour) is None


def test_error_is_the_distance_of_the_centroids():
    values = measure_blocks(_scene(red=(3, 4), black=(20, 20)), _scene(red=(0, 0), black=(20, 21)))
    assert values["block_error_red"] == 5.0
    assert values["block_error_black"] == 1.0
    assert values["block_error"] == 3.0
    assert math.isnan(values["block_error_green"])


def test_a_block_that_the_prediction_does_not_show_is_lost():
    values = measure_blocks(_scene(red=(0, 0)), _scene(red=(0, 0), blue=(9, 9)))
    assert values["block_lost"] == 0.5
    assert values["block_error"] == 0.0
    assert math.isnan(measure_blocks(_scene(), _scene())["block_lost"])


def test_the_largest_region_counts_and_specks_and_robot_parts_are_no_blocks():
    frame = _scene(red=(10, 20))
    frame[0:2, 0:2] = COLOURS["red"]
    assert find_block(frame, "red") == (11.5, 21.5)
    frame = _scene()
    frame[5, 5] = COLOURS["red"]
    frame[10:20, 10:20] = (33, 32, 34)
    assert find_block(frame, "red") is None
    assert find_block(frame, "black") is None


def test_black_is_looked_for_only_where_there_is_a_black_block():
    """In the hammer task the darkest region is the hammer."""
    assert colours_of("blocks_stack_easy") == ("red", "black")
    assert "black" not in colours_of("block_hammer_beat") + colours_of(None)
    values = measure_blocks(
        _scene(red=(0, 0), black=(9, 9)), _scene(red=(0, 0), black=(20, 20)), colours_of("block_hammer_beat")
    )
    assert values["block_error"] == 0.0 and math.isnan(values["block_error_black"])


def _bright(noise: float) -> np.ndarray:
    values = 250 + np.random.default_rng(0).normal(0, noise, (64, 64, 3))
    return np.rint(values).astype(np.int64)


def test_values_beyond_255_cast_without_clamping_are_found():
    truth = np.clip(_bright(1.0), 0, 255).astype(np.uint8)
    wrapped = (_bright(4.0) % 256).astype(np.uint8)
    clamped = np.clip(_bright(4.0), 0, 255).astype(np.uint8)
    assert looks_wrapped(wrapped, truth)
    assert not looks_wrapped(clamped, truth)


def test_sharp_edges_and_noise_are_no_wrap_around():
    truth = moving_square(7, 64)
    assert not looks_wrapped(moving_square(3, 64, (0, 0, 0)), truth)
    assert not looks_wrapped(noisy_picture(0, 64), truth)
    assert not looks_wrapped(truth, truth)


def test_share_counts_values_that_jump_away_from_both_neighbours():
    frame = np.full((1, 12, 3), 250, np.uint8)
    frame[0, 5, 0] = 2
    assert speck_share(frame) == 1 / 30
    assert speck_share(frame[:, :2]) == 0.0
