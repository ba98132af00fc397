import math

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from metrics.measures.motion import motion_mask
from metrics.measures.sharpness import gradient_energy, measure_sharpness
from tests.metrics.conftest import moving_square


def test_the_truth_is_as_sharp_as_itself_a_blur_less_noise_more():
    """A copy of the input says what the input has where the truth moved, right or wrong."""
    source, truth = moving_square(0), moving_square(7)
    mask = motion_mask(source, truth)
    assert measure_sharpness(truth, truth, mask) == 1.0
    blurred = uniform_filter(truth, size=(3, 3, 1))
    assert measure_sharpness(blurred, truth, mask) < 0.7
    noise = np.random.default_rng(0).normal(0, 25, truth.shape)
    assert measure_sharpness(np.clip(truth + noise, 0, 255).astype(np.uint8), truth, mask) > 1.05
    copied = measure_sharpness(source, truth, mask)
    assert copied == gradient_energy(source, mask) / gradient_energy(truth, mask) > 0.5
    grey = np.full_like(truth, 128)
    assert measure_sharpness(grey, truth, mask) == 0.0
    assert math.isnan(measure_sharpness(truth, grey, mask)) and math.isnan(
        measure_sharpness(truth, truth, mask & False)
    )


def test_energy_of_one_edge_is_analytic():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 2:] = 10
    assert gradient_energy(pixels, np.ones((4, 4), bool)) == 4 * 3 * 10**2
    assert gradient_energy(pixels, np.eye(4, dtype=bool)) == pytest.approx(3 * 10**2)  # the edge is in column 1
