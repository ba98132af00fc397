"""Structural similarity on uint8 pictures.

Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), eq. 13, and
skimage.metrics.structural_similarity, which this equals within 1e-6 (SSIM per channel, mean over channels):

    gaussian   11x11 window, sigma 1.5, as Wang et al.: gaussian_weights=True, use_sample_covariance=False
    uniform    7x7 window with sample covariance: scikit-image's default

Only windows that lie inside the picture count.
"""

from collections.abc import Sequence

import numpy as np
from einops import reduce

from commands.errors import UserError
from metrics.measures.convention import PROPER, Convention
from metrics.measures.moments import GAUSSIAN, LocalMoments, Window, walk_moments
from metrics.measures.psnr import check_same_shape

K1, K2 = 0.01, 0.03  # Wang et al., section III-B


def ssim_maps(
    prediction: np.ndarray,
    truth: np.ndarray,
    window: Window = GAUSSIAN,
    conventions: Sequence[Convention] = (PROPER,),
) -> list[np.ndarray]:
    """SSIM around every pixel whose window fits, mean over the channels: one (H - 2 r, W - 2 r) map a convention.

    Raises:
        ValueError: if the pictures differ in size or are smaller than the window.
    """
    check_same_shape(prediction, truth)
    if min(truth.shape[:2]) < len(window.weights):
        raise UserError(
            f"a picture of {truth.shape[1]}x{truth.shape[0]} is smaller than SSIM's {window.name} window of "
            f"{len(window.weights)} pixels; compare at a larger --size."
        )
    size = tuple(length - 2 * window.radius for length in truth.shape[:2])
    maps = [np.empty(size) for _ in conventions]
    for rows, moments in walk_moments(prediction, truth, window):
        for values, convention in zip(maps, conventions, strict=True):
            values[rows] = reduce(_ssim(moments, convention), "c h w -> h w", "mean")
    return maps


def mean_inside(values: np.ndarray, mask: np.ndarray, window: Window = GAUSSIAN) -> float:
    """Mean of an SSIM map over the pixels of a full-size bool (H, W) mask; nan where none is left."""
    radius = window.radius
    inner = mask[radius : mask.shape[0] - radius, radius : mask.shape[1] - radius]
    return float(values[inner].mean()) if inner.any() else float("nan")


def measure_ssim(
    prediction: np.ndarray,
    truth: np.ndarray,
    window: Window = GAUSSIAN,
    convention: Convention = PROPER,
) -> float:
    """Mean SSIM of a uint8 (H, W, 3) picture against the truth."""
    (values,) = ssim_maps(prediction, truth, window, (convention,))
    return float(values.mean())


def _ssim(moments: LocalMoments, convention: Convention) -> np.ndarray:
    """Wang et al., eq. 13, pixel by pixel."""
    c_1 = (K1 * convention.data_range) ** 2
    c_2 = (K2 * convention.data_range) ** 2
    similarity = moments.means + c_1
    similarity *= moments.covariance + c_2
    divisor = moments.squares + c_1
    divisor *= moments.variances + c_2
    similarity /= divisor
    return similarity
