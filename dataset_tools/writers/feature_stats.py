"""Minimum, maximum, mean, standard deviation of features, per episode and merged, as LeRobot stores them."""

from collections.abc import Sequence

import numpy as np

Stats = dict[str, np.ndarray]  # min, max, mean, std of one shape; count of shape (1,)


def measure_stats(values: np.ndarray) -> Stats:
    """Statistics over the first axis of (N, ...)."""
    values = values.astype(np.float64)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }


def measure_picture_stats(pictures: Sequence[np.ndarray]) -> Stats:
    """Statistics per colour of uint8 (H, W, 3) pictures, in [0, 1], each of shape (3, 1, 1); count is of pictures."""
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255.0
    stats = {name: value.reshape(3, 1, 1) for name, value in measure_stats(pixels).items() if name != "count"}
    return {**stats, "count": np.array([len(pictures)])}


def merge_stats(parts: Sequence[Stats]) -> Stats:
    """Statistics of all values together, from those of disjoint parts."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    shape = (len(parts), *(1 for _ in parts[0]["mean"].shape))
    weights = (counts / counts.sum()).reshape(shape)
    means, deviations = (np.stack([part[name] for part in parts]) for name in ("mean", "std"))
    mean = (weights * means).sum(axis=0)
    # Variance of the whole = mean variance within the parts + variance of their means.
    variance = (weights * (deviations**2 + (means - mean) ** 2)).sum(axis=0)
    return {
        "min": np.stack([part["min"] for part in parts]).min(axis=0),
        "max": np.stack([part["max"] for part in parts]).max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
