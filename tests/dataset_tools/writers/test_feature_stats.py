"""Laws of statistics."""

import numpy as np
import pytest

from dataset_tools.writers.feature_stats import measure_picture_stats, measure_stats, merge_stats


def test_merging_parts_equals_measuring_the_whole():
    values = np.random.default_rng(0).normal(size=(100, 14)) * 3 + 1
    merged = merge_stats([measure_stats(part) for part in np.split(values, [7, 8, 60])])
    for name, value in measure_stats(values).items():
        assert merged[name] == pytest.approx(value)


def test_pictures_are_measured_per_colour_in_0_to_1():
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    stats = measure_picture_stats([red, red])
    assert stats["mean"].shape == (3, 1, 1) and stats["mean"].ravel().tolist() == [1.0, 0.0, 0.0]
    assert stats["count"].tolist() == [2]
