"""Temporal consistency of predicted films: how they change from frame to frame, against how the truth does.

A film may be near the truth in every frame and yet flicker, or stand still: PSNR of single frames sees neither.
"""

from dataclasses import dataclass

import numpy as np

from metrics.measures.psnr import check_same_shape


@dataclass(frozen=True)
class TemporalConsistency:
    """Means over pixels, channels and pairs of successive frames, in grey levels of 256."""

    change: float  # |p[k+1] - p[k]| of the prediction
    true_change: float  # |f[k+1] - f[k]| of the truth
    error: float  # |(p[k+1] - p[k]) - (f[k+1] - f[k])|: 0 for the truth, and for the truth in another light

    @property
    def ratio(self) -> float:
        """Change of the prediction in units of the truth's: above 1 it flickers, below 1 it stands still."""
        return self.change / self.true_change if self.true_change else np.nan


def measure_consistency(predicted: np.ndarray, truth: np.ndarray) -> TemporalConsistency:
    """Consistency of a film.

    Args:
        predicted: uint8 (T, H, W, 3) frames of one camera in the order of time; T at least 2.
        truth: the true frames of the same moments.
    """
    assert len(truth) > 1, "one frame is no film"
    for frame, true_frame in zip(predicted, truth, strict=True):
        check_same_shape(frame, true_frame)
    steps, true_steps = (np.diff(film.astype(np.int16), axis=0) for film in (predicted, truth))
    means = (np.abs(values).mean() for values in (steps, true_steps, steps - true_steps))
    return TemporalConsistency(*(float(mean) for mean in means))
