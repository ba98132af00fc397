"""Faults that show in the pixels themselves. Layer 1.

uint8 wrap-around: a value of 257 cast to uint8 without clamping becomes 1, so that specks of the opposite extreme stand
in bright and dark regions. The sign is a pixel that differs by more than SPECK_JUMP from both neighbours in its row, in
the same direction. Measured at 256 x 256: true frames have at most 0.1 such pixels in 1000, published predictions
with wrap-around 1.2 to 7.2.
"""

import numpy as np

SPECK_JUMP = 120  # grey levels of 256
SPECK_EXCESS = 5e-4  # share of pixels beyond SPECK_FACTOR times the truth's
SPECK_FACTOR = 4.0
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
    return share > SPECK_EXCESS and share > SPECK_EXCESS + SPECK_FACTOR * speck_share(truth)
