"""PSNR, SSIM and the PSNR of what moves, of batches of pictures on any device: what a run logs while it trains.

Source: Wang et al. (2004), eq. 13, with the Gaussian window of 11 pixels. Equal to metrics' measures (a test asserts
it), which judge finished predictions one by one with numpy.
"""

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

PEAK = 255.0  # largest value of a uint8 pixel
RADIUS, SIGMA = 5, 1.5  # of SSIM's window
K1, K2 = 0.01, 0.03  # Wang et al., section III-B
MOTION_THRESHOLD = 20  # grey levels that the largest channel of a moving pixel changes by


def measure_similarity(prediction: Tensor, truth: Tensor, source: Tensor | None = None) -> dict[str, Tensor]:
    """Measures (B,) by name of uint8 pictures (B, 3, H, W).

    Args:
        prediction, truth: what is compared.
        source: the frame before, for psnr_motion; None leaves it out.

    Returns:
        psnr in dB, inf where equal; ssim, absent for pictures smaller than its window; psnr_motion, nan where nothing
        moved.
    """
    prediction, truth = prediction.double(), truth.double()
    error = reduce((prediction - truth) ** 2, "b c h w -> b h w", "mean")
    measures = {"psnr": _decibels(reduce(error, "b h w -> b", "mean"))}
    if min(truth.shape[-2:]) > 2 * RADIUS:
        measures["ssim"] = _ssim(prediction, truth)
    if source is not None:
        moved = reduce((source.double() - truth).abs(), "b c h w -> b h w", "max") > MOTION_THRESHOLD
        inside = reduce(error * moved, "b h w -> b", "sum") / reduce(moved.double(), "b h w -> b", "sum")
        measures["psnr_motion"] = _decibels(inside)
    return measures


def _decibels(mse: Tensor) -> Tensor:
    return 20.0 * torch.tensor(PEAK, device=mse.device).double().log10() - 10.0 * mse.log10()


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM (B,) over channels and the windows that lie inside the picture."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    weights = (-0.5 * (offsets / SIGMA) ** 2).exp()
    weights = weights / weights.sum()
    planes = rearrange([x, y, x * x, y * y, x * y], "n b c h w -> (n b c) 1 h w")
    down = F.conv2d(planes, rearrange(weights, "k -> 1 1 k 1"))
    means = F.conv2d(down, rearrange(weights, "k -> 1 1 1 k"))
    mu_x, mu_y, xx, yy, xy = rearrange(means, "(n b c) 1 h w -> n b c h w", n=5, b=len(x))
    c_1, c_2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    covariance, variances = xy - mu_x * mu_y, xx + yy - mu_x**2 - mu_y**2
    ssim = (2 * mu_x * mu_y + c_1) * (2 * covariance + c_2) / ((mu_x**2 + mu_y**2 + c_1) * (variances + c_2))
    return reduce(ssim, "b c h w -> b", "mean")
