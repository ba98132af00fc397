import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from metrics.measures.psnr import AS_PUBLISHED, AS_PUBLISHED_GAIN, PROPER, mean_error, measure_psnr, squared_error
from tests.metrics.conftest import noisy_picture


@pytest.mark.parametrize("offset", [0, 1, 5, 20, 255])
def test_known_error_gives_analytic_psnr(offset):
    """A constant error of k grey levels is 20 log10(255 / k) dB; 255 squared fits no 16 bits, nor its sum."""
    truth = np.zeros((300, 300, 3), np.uint8)
    expected = 20 * math.log10(255 / offset) if offset else math.inf
    assert measure_psnr(truth + np.uint8(offset), truth) == pytest.approx(expected, abs=1e-9)


def test_gaussian_noise_gives_the_psnr_of_its_variance():
    generator = np.random.default_rng(1)
    noisy = np.clip(np.rint(128 + generator.normal(0, 10, (256, 256, 3))), 0, 255).astype(np.uint8)
    expected = 10 * math.log10(255**2 / (10**2 + 1 / 12))  # rounding adds a uniform error of variance 1/12
    assert measure_psnr(noisy, np.full_like(noisy, 128)) == pytest.approx(expected, abs=0.05)


def test_equals_scikit_image_and_as_published_adds_exactly_its_gain():
    """... the ratio of the data ranges, and equals scikit-image on pictures in [0, 1] with data_range 255."""
    assert AS_PUBLISHED == 255 * PROPER
    assert pytest.approx(48.1308, abs=1e-4) == AS_PUBLISHED_GAIN
    a, b = noisy_picture(1), noisy_picture(2)
    assert measure_psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-9)
    published = measure_psnr(a, b, data_range=AS_PUBLISHED)
    assert published - measure_psnr(a, b) == pytest.approx(AS_PUBLISHED_GAIN, abs=1e-9)
    assert published == pytest.approx(peak_signal_noise_ratio(b / 255, a / 255, data_range=255), abs=1e-9)


def test_mask_limits_the_comparison_to_its_pixels():
    truth = np.zeros((4, 4, 3), np.uint8)
    prediction = truth.copy()
    prediction[0, 0] = 10
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True
    error = squared_error(prediction, truth)
    assert mean_error(error, mask) == pytest.approx(50.0)
    assert math.isnan(mean_error(error, np.zeros((4, 4), bool)))


def test_two_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match="8x8 against 16x16; resize both with --size"):
        measure_psnr(noisy_picture(0, 8), noisy_picture(0, 16))
    with pytest.raises(ValueError, match="uint8"):
        measure_psnr(noisy_picture(0).astype(float), noisy_picture(0))
