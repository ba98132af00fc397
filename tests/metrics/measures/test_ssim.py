import math

import numpy as np
import pytest
import torch
from einops import rearrange
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import structural_similarity
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image.ssim import _ssim_update

from metrics.measures import ssim
from metrics.measures.psnr import AS_PUBLISHED
from metrics.measures.ssim import (
    EXPONENTS,
    GAUSSIAN,
    MIN_MULTISCALE,
    ROWS,
    UNIFORM,
    mean_inside,
    measure_ms_ssim,
    measure_ssim,
    ssim_maps,
    walk_moments,
)
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
    """Pictures smaller than the window are refused, those too small for five scales unknown."""
    a, b = noisy_picture(5), noisy_picture(6)
    assert measure_ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert measure_ssim(a, b) == pytest.approx(measure_ssim(b, a), abs=1e-12)
    assert measure_ms_ssim(*[noisy_picture(0, MIN_MULTISCALE)] * 2) == pytest.approx(1.0)
    assert math.isnan(measure_ms_ssim(*[noisy_picture(0, MIN_MULTISCALE - 1)] * 2))
    with pytest.raises(ValueError, match="smaller than SSIM's gaussian window of 11"):
        measure_ssim(noisy_picture(0, 8), noisy_picture(1, 8))


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


def _put_together(x, y, window):
    """(4, C, H - 2 r, W - 2 r) of all strips, and the rows that they said they were."""
    rows, parts = zip(*walk_moments(x, y, window), strict=True)
    fields = ("means", "squares", "covariance", "variances")
    return np.stack([np.concatenate([getattr(part, name) for part in parts], axis=1) for name in fields]), rows


@pytest.fixture
def pictures():
    """Two uint8 pictures of more rows and columns than a strip has, and no multiple of it."""
    return np.random.default_rng(0).integers(0, 256, (2, 2 * ROWS + 15, ROWS + 17, 3), dtype=np.uint8)


@pytest.mark.parametrize("window", [GAUSSIAN, UNIFORM], ids=lambda w: w.name)
def test_moments_are_those_of_the_definition(pictures, window):
    """Weighted sums over every whole window, written out."""
    weights = np.outer(window.weights, window.weights)
    side = len(window.weights)
    patches = sliding_window_view(pictures.astype(float), (side, side), axis=(1, 2))
    x, y = np.moveaxis(patches, 3, 1)

    def mean(values):
        return (values * weights).sum(axis=(-1, -2))

    covariance = window.covariance_norm * (mean(x * y) - mean(x) * mean(y))
    variances = window.covariance_norm * (mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2)
    expected = np.stack([2 * mean(x) * mean(y), mean(x) ** 2 + mean(y) ** 2, 2 * covariance, variances])
    found, rows = _put_together(*pictures, window)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-8)
    assert [part.start for part in rows] == list(range(0, found.shape[2], ROWS)) and rows[-1].stop == found.shape[2]


def test_neither_parts_of_a_product_nor_floats_change_the_moments(pictures, monkeypatch):
    whole, _ = _put_together(*pictures, GAUSSIAN)
    assert (_put_together(*pictures.astype(float), GAUSSIAN)[0] == whole).all()
    monkeypatch.setattr(ssim, "MAX_PRODUCT", 5000)
    np.testing.assert_allclose(_put_together(*pictures, GAUSSIAN)[0], whole, rtol=1e-12, atol=1e-9)


def test_multiscale_equals_torchmetrics_scale_by_scale():
    """Its contrast terms, and scikit-image's SSIM at the coarsest scale, where torchmetrics counts a padded border."""
    truth = noisy_picture(0, 200)
    prediction = np.clip(truth + np.random.default_rng(1).normal(0, 30, truth.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(rearrange(picture, "h w c -> 1 c h w") / 255.0) for picture in (prediction, truth))
    expected = 1.0
    for exponent in EXPONENTS[:-1]:
        _, contrast = _ssim_update(x, y, data_range=1.0, return_contrast_sensitivity=True)
        expected *= float(contrast) ** exponent
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    options = SKIMAGE_OPTIONS["gaussian"] | {"data_range": 1.0}
    coarsest = structural_similarity(x[0].numpy(), y[0].numpy(), channel_axis=0, **options)
    assert measure_ms_ssim(prediction, truth) == pytest.approx(expected * coarsest ** EXPONENTS[-1], abs=1e-6)
