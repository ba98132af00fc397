"""Structural similarity on uint8 pictures, at one scale and at five.

Sources: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), eq. 13, and
skimage.metrics.structural_similarity, which this equals within 1e-6 (SSIM per channel, mean over channels):

    gaussian   11x11 window, sigma 1.5, as Wang et al.: gaussian_weights=True, use_sample_covariance=False
    uniform    7x7 window with sample covariance: scikit-image's default

Multi-scale: Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment" (2003), eq. 7,
with the exponents of section 3.2; the gaussian window; the mean over the channels is taken at each scale, and a
negative contrast-structure term counts as zero. torchmetrics also counts a reflected border at the coarsest scale, and
differs by some 1e-3 for it.

Only windows that lie inside the picture count, at every scale, so no padding is ever invented. Moments are made a strip
of rows at a time: a whole picture's planes do not fit the processor's cache, a strip's do; that, and filtering by small
matrix products, makes SSIM here several times as fast as filtering whole planes one after the other. Eq. 13 needs the
variances of both pictures only as a sum, which saves one of five filterings.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from einops import rearrange, reduce

from commands.errors import UserError
from metrics.measures.psnr import PROPER, check_same_shape

K1, K2 = 0.01, 0.03  # Wang et al., section III-B
ROWS = 24  # of a strip; also columns filtered at once
MAX_PRODUCT = 2**18  # multiplications; BLAS shares larger products among threads, which stall on busy processors


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


@dataclass(frozen=True)
class LocalMoments:
    """Windowed moments of n rows of windows, each float64 (C, n, W - 2 r); two of them doubled, as in eq. 13."""

    means: np.ndarray  # 2 mu_x mu_y
    squares: np.ndarray  # mu_x^2 + mu_y^2
    covariance: np.ndarray  # 2 sigma_xy
    variances: np.ndarray  # sigma_x^2 + sigma_y^2


def _gaussian_weights(sigma: float, radius: int) -> tuple[float, ...]:
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


GAUSSIAN = Window("gaussian", _gaussian_weights(sigma=1.5, radius=5))
UNIFORM = Window("uniform", (1.0 / 7.0,) * 7, covariance_norm=49.0 / 48.0)
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first
MIN_MULTISCALE = len(GAUSSIAN.weights) * 2 ** (len(EXPONENTS) - 1)  # 176: the window fits at the coarsest scale


def ssim_maps(
    prediction: np.ndarray,
    truth: np.ndarray,
    window: Window = GAUSSIAN,
    data_ranges: Sequence[int] = (PROPER,),
) -> list[np.ndarray]:
    """SSIM around every pixel whose window fits, mean over the channels: one (H - 2 r, W - 2 r) map a data range.

    Raises:
        UserError: if the pictures differ in size or are smaller than the window.
    """
    check_same_shape(prediction, truth)
    if min(truth.shape[:2]) < len(window.weights):
        raise UserError(
            f"a picture of {truth.shape[1]}x{truth.shape[0]} is smaller than SSIM's {window.name} window of "
            f"{len(window.weights)} pixels; compare at a larger --size."
        )
    size = tuple(length - 2 * window.radius for length in truth.shape[:2])
    maps = [np.empty(size) for _ in data_ranges]
    for rows, moments in walk_moments(prediction, truth, window):
        for values, data_range in zip(maps, data_ranges, strict=True):
            values[rows] = reduce(_ssim(moments, data_range), "c h w -> h w", "mean")
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
    data_range: int = PROPER,
) -> float:
    """Mean SSIM of a uint8 (H, W, 3) picture against the truth."""
    (values,) = ssim_maps(prediction, truth, window, (data_range,))
    return float(values.mean())


def _ssim(moments: LocalMoments, data_range: int) -> np.ndarray:
    """Wang et al., eq. 13, pixel by pixel."""
    c_1, c_2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    similarity = moments.means + c_1
    similarity *= moments.covariance + c_2
    divisor = moments.squares + c_1
    divisor *= moments.variances + c_2
    similarity /= divisor
    return similarity


def measure_ms_ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """MS-SSIM of a uint8 (H, W, 3) picture against the truth; nan below MIN_MULTISCALE pixels."""
    check_same_shape(prediction, truth)
    if min(truth.shape[:2]) < MIN_MULTISCALE:
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
    c_1, c_2 = (K1 * PROPER) ** 2, (K2 * PROPER) ** 2
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


def walk_moments(x: np.ndarray, y: np.ndarray, window: Window) -> Iterator[tuple[slice, LocalMoments]]:
    """Moments of two pictures strip by strip, with the rows of the (H - 2 r, W - 2 r) map that they are of.

    Args:
        x: (H, W, C) prediction, the x of Wang et al.; uint8, or float64 with the gaussian window.
        y: (H, W, C) truth, the same.
        window: fits into the pictures.
    """
    border = 2 * window.radius
    # int32 holds the largest sum, 49 * 2 * 255^2, exactly.
    average, number = (_average_equally, np.int32) if window is UNIFORM else (_average, np.float64)
    x, y = (rearrange(picture, "h w c -> c h w") for picture in (x, y))
    num_channels, height, width = y.shape
    for start in range(0, height - border, ROWS):
        stop = min(start + ROWS, height - border)
        planes = np.empty((4, num_channels, stop - start + border, width), number)
        _fill_planes(planes, x[:, start : stop + border], y[:, start : stop + border])
        yield slice(start, stop), _combine(average(planes, window), window)


def _fill_planes(planes: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Write x, y, x^2 + y^2 and 2 x y of (C, n, W) rows into (4, C, n, W)."""
    planes[0], planes[1] = x, y
    x, y, squares, product = planes
    np.multiply(x, x, out=squares)
    np.multiply(y, y, out=product)
    squares += product
    np.multiply(x, y, out=product)
    product *= 2


def _combine(averages: np.ndarray, window: Window) -> LocalMoments:
    """Moments from the averages (4, C, n, W - 2 r) of the four planes, which are overwritten."""
    mu_x, mu_y, variances, covariance = averages
    means = mu_x * mu_y
    means *= 2.0
    covariance -= means
    squares = np.multiply(mu_x, mu_x, out=mu_x)
    squares += np.multiply(mu_y, mu_y, out=mu_y)
    variances -= squares
    if window.covariance_norm != 1.0:
        covariance *= window.covariance_norm
        variances *= window.covariance_norm
    return LocalMoments(means, squares, covariance, variances)


def _average(planes: np.ndarray, window: Window) -> np.ndarray:
    """(4, C, n + 2 r, W) => weighted means (4, C, n, W - 2 r) where the whole window fits."""
    border = 2 * window.radius
    num, width = (length - border for length in planes.shape[-2:])
    down = np.empty((*planes.shape[:2], num, planes.shape[-1]))
    _multiply(_band(window, num), planes, down)
    lines, averages = rearrange(down, "p c n w -> w (p c n)"), np.empty((*planes.shape[:2], num, width))
    across = rearrange(averages, "p c n w -> w (p c n)")
    for start in range(0, width, ROWS):
        stop = min(start + ROWS, width)
        _multiply(_band(window, stop - start), lines[start : stop + border], across[start:stop])
    return averages


@lru_cache
def _band(window: Window, num: int) -> np.ndarray:
    """(num, num + 2 r) matrix whose every row holds the window, one place further to the right."""
    band = np.zeros((num, num + 2 * window.radius))
    for row in range(num):
        band[row, row : row + len(window.weights)] = window.weights
    return band


def _multiply(band: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    """Write band @ columns, a few columns at a time."""
    step = max(1, MAX_PRODUCT // band.size)
    for start in range(0, columns.shape[-1], step):
        np.matmul(band, columns[..., start : start + step], out=out[..., start : start + step])


def _average_equally(planes: np.ndarray, window: Window) -> np.ndarray:
    """The same of int32 planes with seven equal weights, from exact sums."""
    border = 2 * window.radius
    width = planes.shape[-1]
    down = _sum_seven(rearrange(planes, "p c n w -> (p c) (n w)"), width)
    down = rearrange(down, "k m -> (k m)")
    across = np.empty_like(down)  # the last sums of a line run into the next one, and are left out
    across[:-border] = _sum_seven(down[None], 1)
    across = rearrange(across, "(p c n w) -> p c n w", p=4, c=planes.shape[1], w=width)
    return across[..., :-border] * len(window.weights) ** -2.0


def _sum_seven(lines: np.ndarray, step: int) -> np.ndarray:
    """(K, M) => (K, M - 6 step): sums of seven numbers that lie `step` apart, in four additions."""
    pairs = lines[:, :-step] + lines[:, step:]
    fours = pairs[:, : -2 * step] + pairs[:, 2 * step :]
    sums = fours[:, : -3 * step]
    sums += pairs[:, 4 * step : -step]
    sums += lines[:, 6 * step :]
    return sums
