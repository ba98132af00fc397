"""Structural similarity on uint8 pictures. Layer 1.

Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), eq. 13, and
skimage.metrics.structural_similarity, which this equals within 1e-6 (SSIM per channel, mean over channels):

    gaussian   11x11 window, sigma 1.5, as Wang et al.: gaussian_weights=True, use_sample_covariance=False
    uniform    7x7 window with sample covariance: scikit-image's default

Only windows that lie inside the picture count, so no padding is ever invented. eq. 13 needs the variances of
both pictures only as a sum, which saves one of five filterings.
"""

from collections.abc import Sequence
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
        raise ValueError(
            f"a picture of {truth.shape[1]}x{truth.shape[0]} is smaller than SSIM's {window.name} window of "
            f"{len(window.weights)} pixels; compare at a larger --size."
        )
    totals: list = [0.0] * len(conventions)
    for channel in range(truth.shape[2]):  # one channel at a time stays in the processor's cache
        # int32 holds the largest sum, 49 * 2 * 255^2, exactly.
        planes = (picture[..., channel].astype(np.int32) for picture in (prediction, truth))
        moments = measure_moments(*planes, window)
        totals = [total + _ssim(moments, convention) for total, convention in zip(totals, conventions, strict=True)]
    return [rearrange(total, "w h -> h w") / truth.shape[2] for total in totals]


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


@dataclass(frozen=True)
class LocalMoments:
    """Windowed moments of one channel, each (W - 2 r, H - 2 r): transposed, which saves two transpositions."""

    product_of_means: np.ndarray  # mu_x mu_y
    squares_of_means: np.ndarray  # mu_x^2 + mu_y^2
    covariance: np.ndarray  # sigma_xy
    variances: np.ndarray  # sigma_x^2 + sigma_y^2


def measure_moments(x: np.ndarray, y: np.ndarray, window: Window) -> LocalMoments:
    """Moments of two (H, W) planes of one channel; x is the prediction and y the truth, as in Wang et al."""
    average = _average_uniform if window is UNIFORM else _average
    mu_x, mu_y, variances, covariance = (average(plane, window) for plane in (x, y, x * x + y * y, x * y))
    # In place on our own arrays: allocating half a megabyte for each sign costs as much as the arithmetic.
    product = mu_x * mu_y
    covariance -= product
    squares = np.multiply(mu_x, mu_x, out=mu_x)
    squares += np.multiply(mu_y, mu_y, out=mu_y)
    variances -= squares
    if window.covariance_norm != 1.0:
        covariance *= window.covariance_norm
        variances *= window.covariance_norm
    return LocalMoments(product, squares, covariance, variances)


def _ssim(moments: LocalMoments, convention: Convention) -> np.ndarray:
    """Wang et al., eq. 13, pixel by pixel."""
    c_1 = (K1 * convention.data_range) ** 2
    c_2 = (K2 * convention.data_range) ** 2
    numerator = 2.0 * moments.product_of_means
    numerator += c_1
    structure = 2.0 * moments.covariance
    structure += c_2
    numerator *= structure
    np.add(moments.variances, c_2, out=structure)
    numerator /= structure
    np.add(moments.squares_of_means, c_1, out=structure)
    numerator /= structure
    return numerator


def _average(plane: np.ndarray, window: Window) -> np.ndarray:
    """(H, W) => weighted mean where the whole window fits, transposed: (W - 2 r, H - 2 r)."""
    inner = slice(window.radius, -window.radius)
    rows = correlate1d(plane, window.weights, axis=1, output=np.float64)[:, inner]
    columns = np.ascontiguousarray(rearrange(rows, "h w -> w h"))  # filtering along memory is three times as fast
    return correlate1d(columns, window.weights, axis=1)[:, inner]


def _average_uniform(plane: np.ndarray, window: Window) -> np.ndarray:
    """The same with equal weights, as exact integer sums."""
    side = len(window.weights)
    height, width = (length - side + 1 for length in plane.shape)
    rows = plane[:, :width].copy()
    for offset in range(1, side):
        rows += plane[:, offset : offset + width]
    total = rows[:height].copy()
    for offset in range(1, side):
        total += rows[offset : offset + height]
    return rearrange(total, "h w -> w h") / side**2
