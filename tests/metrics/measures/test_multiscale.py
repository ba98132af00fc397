import math

import numpy as np
import pytest
import torch
from einops import rearrange
from skimage.metrics import structural_similarity
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image.ssim import _ssim_update

from metrics.measures.multiscale import EXPONENTS, MIN_SIZE, measure_ms_ssim
from tests.metrics.conftest import noisy_picture


def test_equals_torchmetrics_scale_by_scale():
    """Its contrast terms, and scikit-image's SSIM at the coarsest scale, where torchmetrics counts a padded border."""
    truth = noisy_picture(0, 200)
    prediction = np.clip(truth + np.random.default_rng(1).normal(0, 30, truth.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(rearrange(picture, "h w c -> 1 c h w") / 255.0) for picture in (prediction, truth))
    expected = 1.0
    for exponent in EXPONENTS[:-1]:
        _, contrast = _ssim_update(x, y, data_range=1.0, return_contrast_sensitivity=True)
        expected *= float(contrast) ** exponent
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    coarsest = structural_similarity(x[0].numpy(), y[0].numpy(), channel_axis=0, **options)
    assert measure_ms_ssim(prediction, truth) == pytest.approx(expected * coarsest ** EXPONENTS[-1], abs=1e-6)


def test_identical_pictures_have_one_and_small_ones_none():
    assert measure_ms_ssim(*[noisy_picture(0, MIN_SIZE)] * 2) == pytest.approx(1.0)
    assert math.isnan(measure_ms_ssim(*[noisy_picture(0, MIN_SIZE - 1)] * 2))
