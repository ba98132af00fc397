"""Where the coloured blocks are: the error that matters to a robot.

RoboTwin's blocks have pure colours: red, blue, green, and a black darker than any part of the robot. A block is the
largest connected region of its colour; its position is the centroid of that region, in pixels of the comparison.
What an arm hides is not counted: a block that the truth does not show has no error. Black is looked for only in tasks
that have a black block: elsewhere the darkest thing is a hammer or a shadow between the fingers.
"""

import math
from collections.abc import Sequence

import numpy as np
from einops import rearrange
from scipy.ndimage import label

from metrics.measures.psnr import largest_channel

COLOURS = ("red", "black", "blue", "green")
MIN_LEVEL = 100  # grey levels of 256 that a coloured block's own channel reaches in shadow
MAX_OTHER = 0.5  # share of it that the other two channels stay below
MAX_BLACK = 20  # the black block: real RoboTwin shows 1 to 10, black parts of the robot 28 and more
MIN_AREA = 0.0006  # share of the picture; a block of 5 cm covers 0.012, and 0.0006 is 10 pixels at 128 x 128


def colour_mask(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Pixels of a uint8 (H, W, 3) picture that have one of COLOURS: bool (H, W)."""
    if colour == "black":
        return largest_channel(pixels) <= MAX_BLACK
    planes = dict(zip(("red", "green", "blue"), rearrange(pixels, "h w c -> c h w"), strict=True))
    own = planes.pop(colour)
    mask, limit = own >= MIN_LEVEL, MAX_OTHER * own
    for other in planes.values():
        mask &= other < limit
    return mask


def find_block(pixels: np.ndarray, colour: str) -> tuple[float, float] | None:
    """Centroid (row, column) of the largest region of a colour; None where none is large enough."""
    mask = colour_mask(pixels, colour)
    smallest = max(2.0, MIN_AREA * mask.size)
    if np.count_nonzero(mask) < smallest:
        return None
    regions, _ = label(mask)
    areas = np.bincount(regions.ravel())[1:]
    if areas.max() < smallest:
        return None
    rows, columns = np.nonzero(regions == 1 + int(areas.argmax()))
    return float(rows.mean()), float(columns.mean())


def measure_blocks(prediction: np.ndarray, truth: np.ndarray, colours: Sequence[str] = COLOURS) -> dict[str, float]:
    """Distance in pixels between predicted and true centroid of each block.

    Args:
        prediction: uint8 (H, W, 3).
        truth: uint8 (H, W, 3).
        colours: of the blocks to look for.

    Returns:
        block_error_<colour>; block_error, the mean over the blocks seen in both; block_lost, the share of the truth's
        blocks that the prediction does not show. nan where the truth shows no such block.
    """
    errors, num_true, num_lost = dict.fromkeys(COLOURS, math.nan), 0, 0
    for colour in colours:
        true, predicted = find_block(truth, colour), find_block(prediction, colour)
        num_true += true is not None
        num_lost += true is not None and predicted is None
        errors[colour] = math.dist(true, predicted) if true and predicted else math.nan
    known = [error for error in errors.values() if not math.isnan(error)]
    return {f"block_error_{colour}": error for colour, error in errors.items()} | {
        "block_error": sum(known) / len(known) if known else math.nan,
        "block_lost": num_lost / num_true if num_true else math.nan,
    }
