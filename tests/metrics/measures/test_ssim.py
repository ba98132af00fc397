import numpy as np
import pytest
from skimage.metrics import structural_similarity

from metrics.measures.convention import AS_PUBLISHED
from metrics.measures.moments import GAUSSIAN, UNIFORM
from metrics.measures.ssim import mean_inside, measure_ssim, ssim_maps
from tests.metrics.conftest import noisy_picture

SKIMAGE_OPTIONS = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform": {"win_size": 7},
}


@pytest.mark.parametrize("window", [GAUSSIAN, UNIFORM], ids=lambda w: w.name)
@pytest.mark.parametrize("size", [16, 61])
def test_equals_scikit_image(window, size):
    """On [0, 1] pictures with the right and with the published data range."""
    a, b = noisy_picture(3, size), noisy_picture(4, size)
    options = SKIMAGE_OPTIONS[window.name] | {"channel_axis": -1}
    assert measure_ssim(a, b, window) == pytest.approx(
        structural_similarity(a / 255, b / 255, data_range=1.0, **options), abs=1e-6
    )
    assert measure_ssim(a, b, window, AS_PUBLISHED) == pytest.approx(
        structural_similarity(a / 255, b / 255, data_range=255.0, **options), abs=1e-6
    )


def test_identical_pictures_have_ssim_one_and_symmetry_holds():
    a, b = noisy_picture(5), noisy_picture(6)
    assert measure_ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert measure_ssim(a, b) == pytest.approx(measure_ssim(b, a), abs=1e-12)


def test_constant_pictures_leave_the_luminance_term():
    """eq. 13 without variance: (2 a b + C1) / (a^2 + b^2 + C1)."""
    a, b = 50.0, 200.0
    c_1 = (0.01 * 255) ** 2
    frames = [np.full((16, 16, 3), value, np.uint8) for value in (a, b)]
    assert measure_ssim(*frames) == pytest.approx((2 * a * b + c_1) / (a * a + b * b + c_1), abs=1e-9)


def test_mean_inside_takes_the_masked_part_of_the_map():
    """A full mask gives the mean; the mask is cut like the map."""
    (values,) = ssim_maps(noisy_picture(7), noisy_picture(8), UNIFORM)
    assert mean_inside(values, np.ones((16, 16), bool), UNIFORM) == pytest.approx(values.mean())
    corner = np.zeros((16, 16), bool)
    corner[3, 4] = True
    assert mean_inside(values, corner, UNIFORM) == values[0, 1]
    assert np.isnan(mean_inside(values, np.zeros((16, 16), bool), UNIFORM))


def test_map_equals_scikit_images_away_from_the_border():
    a, b = noisy_picture(9, 20)[:, :15], noisy_picture(10, 20)[:, :15]
    _, full = structural_similarity(a, b, data_range=255, channel_axis=-1, full=True)
    (values,) = ssim_maps(a, b, UNIFORM)
    np.testing.assert_allclose(values, full.mean(axis=-1)[3:-3, 3:-3], atol=1e-9)


def test_picture_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="smaller than SSIM's gaussian window of 11"):
        measure_ssim(noisy_picture(0, 8), noisy_picture(1, 8))
