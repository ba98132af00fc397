"""Windowed means, variances and covariances of two pictures, a strip of rows at a time.

A whole picture's planes do not fit the processor's cache, a strip's do; that, and filtering by small matrix products,
makes SSIM here several times as fast as filtering whole planes one after the other.

Only windows that lie inside the picture count, so no padding is ever invented. Wang et al. (2004), eq. 13, needs the
variances of both pictures only as a sum, which saves one of five filterings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from einops import rearrange

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


def _gaussian_weights(sigma: float, radius: int) -> tuple[float, ...]:
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


GAUSSIAN = Window("gaussian", _gaussian_weights(sigma=1.5, radius=5))
UNIFORM = Window("uniform", (1.0 / 7.0,) * 7, covariance_norm=49.0 / 48.0)


@dataclass(frozen=True)
class LocalMoments:
    """Windowed moments of n rows of windows, each float64 (C, n, W - 2 r); two of them doubled, as in eq. 13."""

    means: np.ndarray  # 2 mu_x mu_y
    squares: np.ndarray  # mu_x^2 + mu_y^2
    covariance: np.ndarray  # 2 sigma_xy
    variances: np.ndarray  # sigma_x^2 + sigma_y^2


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
