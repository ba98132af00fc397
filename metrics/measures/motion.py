"""Mask of the pixels that moved: where there is something to predict.

A pixel moved if any of its channels differs between the current frame and the true future frame by more than
MOTION_THRESHOLD grey levels of 256. JPEG noise of a static table stays below it; an arm, a block or its shadow not.
"""

import math

import numpy as np

from metrics.measures.psnr import check_same_shape, largest_channel

MOTION_THRESHOLD = 20  # grey levels of 256, largest of the three channels


def motion_mask(source: np.ndarray, target: np.ndarray, threshold: int = MOTION_THRESHOLD) -> np.ndarray:
    """Pixels that differ between two uint8 (H, W, 3) frames by more than `threshold` in any channel: bool (H, W)."""
    check_same_shape(source, target)
    difference = np.maximum(source, target)
    difference -= np.minimum(source, target)
    return largest_channel(difference) > threshold


def measure_iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two bool (H, W) masks; nan where both are empty."""
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else math.nan


def measure_copyness(source: np.ndarray, prediction: np.ndarray, mask: np.ndarray) -> float:
    """Share of the moved region in which the prediction still shows the current frame.

    1 for a copy of the input, 0 for the truth; nan where nothing moved.

    Args:
        source: uint8 (H, W, 3) current frame.
        prediction: uint8 (H, W, 3).
        mask: bool (H, W), where the truth moved.
    """
    moved = np.count_nonzero(mask)
    return np.count_nonzero(mask & ~motion_mask(source, prediction)) / moved if moved else math.nan
