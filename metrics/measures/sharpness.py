"""Sharpness where something moved: gradient energy of the prediction over that of the truth.

A mean of possible futures is a blur: it wins PSNR and loses gradients. 1 for the truth, less for a blur, more for noise
or for edges that the truth has not; so it says how a picture looks, not how right it is, and no row is best by it.
"""

import math

import numpy as np

from metrics.measures.psnr import check_same_shape


def gradient_energy(pixels: np.ndarray, mask: np.ndarray) -> int:
    """Sum over a bool (H, W) mask of a uint8 (H, W, 3) picture's squared differences to the next row and column."""
    levels = pixels.astype(np.int32)
    energy = np.zeros(mask.shape, np.int64)
    energy[:-1] += (np.diff(levels, axis=0) ** 2).sum(axis=2)
    energy[:, :-1] += (np.diff(levels, axis=1) ** 2).sum(axis=2)
    return int(energy[mask].sum())


def measure_sharpness(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Gradient energy of the prediction over that of the truth inside a mask; nan where the truth has none."""
    check_same_shape(prediction, truth)
    wanted = gradient_energy(truth, mask)
    return gradient_energy(prediction, mask) / wanted if wanted else math.nan
