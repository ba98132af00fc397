"""Multi-scale structural similarity. Layer 1.

Source: Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment" (2003), eq. 7,
with the exponents of section 3.2; SSIM's gaussian window; the mean over the channels is taken at each scale, and a
negative contrast-structure term counts as zero. Only whole windows count, at every scale; torchmetrics also counts a
reflected border at the coarsest one, and differs by some 1e-3 for it.
"""

import math

import numpy as np
from einops import reduce

from metrics.convention import PROPER
from metrics.pixel import check_same_shape
from metrics.ssim import GAUSSIAN, K1, K2, measure_moments

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first
MIN_SIZE = len(GAUSSIAN.weights) * 2 ** (len(EXPONENTS) - 1)  # 176: the window fits at the coarsest scale


def measure_ms_ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """MS-SSIM of a uint8 (H, W, 3) picture against the truth; nan below MIN_SIZE pixels, where it is not defined."""
    check_same_shape(prediction, truth)
    if min(truth.shape[:2]) < MIN_SIZE:
        return math.nan
    x, y = prediction.astype(np.float64), truth.astype(np.float64)
    product = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        similarity, contrast = _measure_scale(x, y)
        coarsest = scale == len(EXPONENTS) - 1
        product *= max(similarity if coarsest else contrast, 0.0) ** exponent
        x, y = _halve(x), _halve(y)
    return product


def _measure_scale(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term of (H, W, 3) pictures."""
    c_1, c_2 = (K1 * PROPER.data_range) ** 2, (K2 * PROPER.data_range) ** 2
    similarity, contrast = 0.0, 0.0
    for channel in range(x.shape[2]):
        moments = measure_moments(x[..., channel], y[..., channel], GAUSSIAN)
        structure = (2.0 * moments.covariance + c_2) / (moments.variances + c_2)
        luminance = (2.0 * moments.product_of_means + c_1) / (moments.squares_of_means + c_1)
        contrast += float(structure.mean()) / x.shape[2]
        similarity += float((luminance * structure).mean()) / x.shape[2]
    return similarity, contrast


def _halve(picture: np.ndarray) -> np.ndarray:
    """Mean of each 2 x 2 square; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in picture.shape[:2])
    return reduce(picture[:height, :width], "(h 2) (w 2) c -> h w c", "mean")
