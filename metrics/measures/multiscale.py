"""Multi-scale structural similarity.

Source: Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment" (2003), eq. 7,
with the exponents of section 3.2; SSIM's gaussian window; the mean over the channels is taken at each scale, and a
negative contrast-structure term counts as zero. Only whole windows count, at every scale; torchmetrics also counts a
reflected border at the coarsest one, and differs by some 1e-3 for it.
"""

import math

import numpy as np

from metrics.measures.convention import PROPER
from metrics.measures.moments import GAUSSIAN, walk_moments
from metrics.measures.psnr import check_same_shape
from metrics.measures.ssim import K1, K2

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first
MIN_SIZE = len(GAUSSIAN.weights) * 2 ** (len(EXPONENTS) - 1)  # 176: the window fits at the coarsest scale


def measure_ms_ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """MS-SSIM of a uint8 (H, W, 3) picture against the truth; nan below MIN_SIZE pixels, where it is not defined."""
    check_same_shape(prediction, truth)
    if min(truth.shape[:2]) < MIN_SIZE:
        return math.nan
    x, y = prediction.astype(np.float64), truth.astype(np.float64)
    *finer, coarsest = EXPONENTS
    product = 1.0
    for exponent in finer:
        product *= max(_mean_term(x, y, with_luminance=False), 0.0) ** exponent
        x, y = _halve(x), _halve(y)
    return product * max(_mean_term(x, y, with_luminance=True), 0.0) ** coarsest


def _mean_term(x: np.ndarray, y: np.ndarray, *, with_luminance: bool) -> float:
    """Mean contrast-structure term of (H, W, 3) pictures; with luminance it is the mean SSIM."""
    c_1, c_2 = (K1 * PROPER.data_range) ** 2, (K2 * PROPER.data_range) ** 2
    total, number = 0.0, 0
    for _, moments in walk_moments(x, y, GAUSSIAN):
        term = (moments.covariance + c_2) / (moments.variances + c_2)
        if with_luminance:
            term *= (moments.means + c_1) / (moments.squares + c_1)
        total += float(term.sum())
        number += term.size
    return total / number


def _halve(picture: np.ndarray) -> np.ndarray:
    """Mean of each 2 x 2 square, line by line since that is seven times as fast; odd last rows and columns go."""
    height, width = (length // 2 * 2 for length in picture.shape[:2])
    lines = picture[0:height:2] + picture[1:height:2]
    squares = lines[:, 0:width:2] + lines[:, 1:width:2]
    squares *= 0.25
    return squares
