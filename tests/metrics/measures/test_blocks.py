import math

import numpy as np
import pytest

from metrics.measures.blocks import colours_of, find_block, measure_blocks

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


def test_specks_and_robot_parts_are_no_blocks():
    frame = _scene()
    frame[5, 5] = COLOURS["red"]
    frame[10:20, 10:20] = (33, 32, 34)
    assert find_block(frame, "red") is None
    assert find_block(frame, "black") is None


def test_the_largest_region_counts():
    frame = _scene(red=(10, 20))
    frame[0:2, 0:2] = COLOURS["red"]
    assert find_block(frame, "red") == (11.5, 21.5)


def test_black_is_looked_for_only_where_there_is_a_black_block():
    """In the hammer task the darkest region is the hammer."""
    assert colours_of("blocks_stack_easy") == ("red", "black")
    assert "black" not in colours_of("block_hammer_beat") + colours_of(None)
    values = measure_blocks(
        _scene(red=(0, 0), black=(9, 9)), _scene(red=(0, 0), black=(20, 20)), colours_of("block_hammer_beat")
    )
    assert values["block_error"] == 0.0 and math.isnan(values["block_error_black"])
