"""Pixel measures of one (current frame, prediction, true future frame)."""

from collections.abc import Iterable, Sequence

import numpy as np

from metrics.measures.blocks import COLOURS, measure_blocks
from metrics.measures.motion import measure_copyness, measure_iou, motion_mask
from metrics.measures.psnr import AS_PUBLISHED, PROPER, mean_error, psnr_of_mse, squared_error
from metrics.measures.sharpness import measure_sharpness
from metrics.measures.ssim import GAUSSIAN, UNIFORM, mean_inside, measure_ms_ssim, ssim_maps


def measure_frames(
    source: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    keys: Iterable[str],
    colours: Sequence[str] = COLOURS,
) -> dict[str, float]:
    """Values of pixel measures by key; nan where nothing moved and the measure asks for motion.

    Args:
        source: uint8 (H, W, 3) current frame.
        prediction: uint8 (H, W, 3) predicted future frame.
        truth: uint8 (H, W, 3) true future frame.
        keys: of metrics.measures.columns.PIXEL_KEYS.
        colours: of the blocks to look for.
    """
    wanted = tuple(keys)
    mask = motion_mask(source, truth)
    values = _measure_error(prediction, truth, mask) | _measure_structure(prediction, truth, mask, set(wanted))
    if "iou_motion" in wanted:
        values["iou_motion"] = measure_iou(motion_mask(source, prediction), mask)
    if "sharpness" in wanted:
        values["sharpness"] = measure_sharpness(prediction, truth, mask)
    if "copyness" in wanted:
        values["copyness"] = measure_copyness(source, prediction, mask)
    if any(key.startswith("block_") for key in wanted):
        values |= measure_blocks(prediction, truth, colours)
    return {key: values[key] for key in wanted}


def _measure_error(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    error = squared_error(prediction, truth)
    mse = mean_error(error)
    return {
        "psnr": psnr_of_mse(mse, PROPER),
        "psnr_as_published": psnr_of_mse(mse, AS_PUBLISHED),
        "psnr_motion": psnr_of_mse(mean_error(error, mask), PROPER),
    }


def _measure_structure(
    prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray, wanted: set[str]
) -> dict[str, float]:
    values = {}
    for key, window in (("ssim", GAUSSIAN), ("ssim_uniform", UNIFORM)):
        published_key = f"{key}_as_published"
        of_this_map = {key, published_key} | ({"ssim_motion"} if window is GAUSSIAN else set())
        if not wanted & of_this_map:
            continue
        data_ranges = (PROPER, AS_PUBLISHED) if published_key in wanted else (PROPER,)
        proper, *published = ssim_maps(prediction, truth, window, data_ranges)
        values[key] = float(proper.mean())
        if published:
            values[published_key] = float(published[0].mean())
        if "ssim_motion" in of_this_map:
            values["ssim_motion"] = mean_inside(proper, mask, window)
    if "ms_ssim" in wanted:
        values["ms_ssim"] = measure_ms_ssim(prediction, truth)
    return values
