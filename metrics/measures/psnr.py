"""PSNR on uint8 pictures, and the two ways in which this field computes PSNR and SSIM.

Sources: equal to skimage.metrics.peak_signal_noise_ratio over all three channels; the conventions are those of the
papers of this project (metrics/results/README.md). Pixels stay the integers v = 0..255 of the files, so the data range
is stated in the same unit:

    proper         images in [0, 1] with data_range 1    <=> v with data_range 255
    as_published   images in [0, 1] with data_range 255  <=> v with data_range 255 * 255

The second adds 20 log10(255) = 48.13 dB to every PSNR, and its SSIM constants swamp the picture.
"""

import math

import numpy as np

from commands.errors import UserError

PEAK = 255  # largest value of a uint8 pixel
AS_PUBLISHED_GAIN = 20.0 * math.log10(PEAK)  # dB that the wrong data range adds to every PSNR
PROPER, AS_PUBLISHED = PEAK, PEAK * PEAK  # data ranges in units of one grey level of 256


def check_same_shape(prediction: np.ndarray, truth: np.ndarray) -> None:
    """Refuse anything but two uint8 (H, W, 3) pictures of one size.

    Raises:
        UserError: if the sizes differ.
        ValueError: if either is no such array, which is the caller's fault.
    """
    for pixels in (prediction, truth):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"wanted a uint8 (H, W, 3) picture, got {pixels.dtype} {pixels.shape}")
    if prediction.shape != truth.shape:
        raise UserError(
            f"pictures of two sizes: {prediction.shape[1]}x{prediction.shape[0]} "
            f"against {truth.shape[1]}x{truth.shape[0]}; resize both with --size."
        )


def squared_error(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared difference of two uint8 (H, W, 3) pictures, summed over the channels: int32 (H, W)."""
    check_same_shape(prediction, truth)
    square = np.subtract(prediction, truth, dtype=np.int32)
    square *= square
    return square[..., 0] + square[..., 1] + square[..., 2]  # a reduction over three numbers takes three times as long


def largest_channel(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) => largest of the three (H, W)."""
    return np.maximum(np.maximum(picture[..., 0], picture[..., 1]), picture[..., 2])


def mean_error(error: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean squared difference a channel, in squared grey levels of 256; nan for an empty mask.

    Args:
        error: int32 (H, W) of `squared_error`.
        mask: bool (H, W); only its pixels count.
    """
    count = error.size if mask is None else np.count_nonzero(mask)
    if not count:
        return math.nan
    total = error.sum(dtype=np.int64, where=True if mask is None else mask)
    return float(total) / (3 * count)


def psnr_of_mse(mse: float, data_range: int) -> float:
    """PSNR in dB; inf where the pictures are identical, nan where nothing was compared."""
    if mse == 0.0:
        return math.inf
    return 20.0 * math.log10(data_range) - 10.0 * math.log10(mse)


def measure_psnr(prediction: np.ndarray, truth: np.ndarray, data_range: int = PROPER) -> float:
    """PSNR in dB of a uint8 (H, W, 3) picture against the truth."""
    return psnr_of_mse(mean_error(squared_error(prediction, truth)), data_range)
