"""Structural similarity on uint8 pictures. Layer 1.

Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), eq. 13, and
skimage.metrics.structural_similarity, which this equals within 1e-6 (SSIM per channel, mean over channels):

    gaussian   11x11 window, sigma 1.5, as Wang et al.: gaussian_weights=True, use_sample_covariance=False
    uniform    7x7 window with sample covariance: scikit-image's default

Only windows that lie inside the picture count, so no padding is ever invented. eq. 13 needs the variances of
both pictures only as a sum, which saves one of five filterings.
"""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from scipy.ndimage import correlate1d

from metrics.convention import PROPER, Convention
from metrics.pixel import check_same_shape

K1, K2 = 0.01, 0.03  # Wang et al., section III-B


@dataclass(frozen=True)
class Window:
    """Separable averaging window of 2 * radius + 1 pixels a side; its weights sum to one."""

    name: str
    weights: tuple[float, ...]
    covariance_norm: float = 1.0

    @property
    def radius(self) -> int:
        """Pixels of border in which no whole window fits."""
        return len(self.weights) // 2


def _gaussian_weights(sigma: float, radius: int) -> tuple[float, ...]:
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


GAUSSIAN = Window("gaussian", _gaussian_weights(sigma=1.5, radius=5))
UNIFORM = Window("uniform", (1.0 / 7.0,) * 7, covariance_norm=49.0 / 48.0)
WINDOWS = {window.name: window for window in (GAUSSIAN, UNIFORM)}


@dataclass(frozen=True)
class LocalMoments:
    """Windowed moments of two pictures, each (H - 2 r, W - 2 r, 3) in grey levels or their squares."""

    product_of_means: np.ndarray  # mu_x mu_y
    squares_of_means: np.ndarray  # mu_x^2 + mu_y^2
    covariance: np.ndarray  # sigma_xy
    variances: np.ndarray  # sigma_x^2 + sigma_y^2
    radius: int


def measure_moments(prediction: np.ndarray, truth: np.ndarray, window: Window = GAUSSIAN) -> LocalMoments:
    """Moments from which SSIM follows under any convention.

    Raises:
        ValueError: if the pictures differ in size or are smaller than the window.
    """
    check_same_shape(prediction, truth)
    if min(truth.shape[:2]) < len(window.weights):
        raise ValueError(
            f"a picture of {truth.shape[1]}x{truth.shape[0]} is smaller than SSIM's {window.name} window of "
            f"{len(window.weights)} pixels; compare at a larger --size."
        )
    # Notation, Wang et al.: x = prediction, y = truth.
    x = rearrange(prediction.astype(np.float64), "h w c -> c h w")
    y = rearrange(truth.astype(np.float64), "h w c -> c h w")
    mu_x, mu_y, mean_square, mean_product = _average(np.stack([x, y, x * x + y * y, x * y]), window)
    product, squares = mu_x * mu_y, mu_x * mu_x + mu_y * mu_y
    return LocalMoments(
        product_of_means=product,
        squares_of_means=squares,
        covariance=window.covariance_norm * (mean_product - product),
        variances=window.covariance_norm * (mean_square - squares),
        radius=window.radius,
    )


def ssim_map(moments: LocalMoments, convention: Convention = PROPER) -> np.ndarray:
    """SSIM around every pixel whose window fits: (H - 2 r, W - 2 r), mean over the three channels."""
    c_1 = (K1 * convention.data_range) ** 2
    c_2 = (K2 * convention.data_range) ** 2
    numerator = (2.0 * moments.product_of_means + c_1) * (2.0 * moments.covariance + c_2)
    denominator = (moments.squares_of_means + c_1) * (moments.variances + c_2)
    return (numerator / denominator).mean(axis=0)


def mean_inside(values: np.ndarray, mask: np.ndarray, radius: int) -> float:
    """Mean of an SSIM map over the pixels of a full-size bool (H, W) mask; nan where none is left."""
    inner = mask[radius : mask.shape[0] - radius, radius : mask.shape[1] - radius]
    return float(values[inner].mean()) if inner.any() else float("nan")


def measure_ssim(
    prediction: np.ndarray,
    truth: np.ndarray,
    window: Window = GAUSSIAN,
    convention: Convention = PROPER,
) -> float:
    """Mean SSIM of a uint8 (H, W, 3) picture against the truth."""
    return float(ssim_map(measure_moments(prediction, truth, window), convention).mean())


def _average(planes: np.ndarray, window: Window) -> np.ndarray:
    """Windowed mean of (..., H, W) planes where the whole window fits: (..., H - 2 r, W - 2 r)."""
    radius = window.radius
    rows = correlate1d(planes, window.weights, axis=-2)[..., radius : planes.shape[-2] - radius, :]
    return correlate1d(rows, window.weights, axis=-1)[..., radius : planes.shape[-1] - radius]
