"""Faults that show in the pixels themselves.

uint8 wrap-around: a value of 257 cast to uint8 without clamping becomes 1, so that specks of the opposite extreme stand
in bright and dark regions. The sign is a value that differs by SPECK_JUMP or more from both neighbours in its row, in
the same direction. Measured at 256 x 256 (metrics/results/published/facts.json): true frames have at most 0.14 such
values in 1000, published predictions with wrap-around 0.4 to 5. Thin true structures in small pictures look the same
(up to 3 in 1000 at 64 x 64), so the threshold is higher there, and only coarse wrap-around is found.
"""

import numpy as np

SPECK_JUMP = 120  # grey levels of 256
SPECK_EXCESS = 3e-4  # share of values beyond SPECK_FACTOR times the truth's, at NATIVE_SIZE or above
SPECK_FACTOR = 2.0
NATIVE_SIZE = 256  # pixels; below it the excess grows with the square of the ratio
WRAPPED = "uint8 wrap-around (specks of the opposite extreme)"


def speck_share(pixels: np.ndarray) -> float:
    """Share of a uint8 (H, W, 3) picture's values that jump away from both neighbours in the row."""
    if pixels.shape[1] < 3:
        return 0.0
    middle = pixels[:, 1:-1].astype(np.int16)
    left, right = middle - pixels[:, :-2], middle - pixels[:, 2:]
    specks = (np.minimum(left, right) >= SPECK_JUMP) | (np.maximum(left, right) <= -SPECK_JUMP)
    return float(np.count_nonzero(specks)) / specks.size


def looks_wrapped(prediction: np.ndarray, truth: np.ndarray) -> bool:
    """Whether a prediction shows uint8 wrap-around that the truth, at the same size, does not."""
    share = speck_share(prediction)
    excess = SPECK_EXCESS * max(1.0, NATIVE_SIZE / prediction.shape[1]) ** 2
    return share > excess and share > excess + SPECK_FACTOR * speck_share(truth)
