"""What is measured on one (current frame, prediction, true future frame). Layer 1.

Every measure has a key (its column in csv and json), a title, and knows which way is better.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from metrics.convention import AS_PUBLISHED, PROPER
from metrics.motion import motion_mask
from metrics.pixel import mean_error, psnr_of_mse, squared_error
from metrics.ssim import GAUSSIAN, UNIFORM, mean_inside, measure_ssim, ssim_maps


@dataclass(frozen=True)
class Measure:
    """One column of a table."""

    key: str
    title: str
    digits: int
    higher_is_better: bool = True
    unit: str = ""

    @property
    def heading(self) -> str:
        """Title with unit and direction, "PSNR (dB, higher is better)" in short."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.title}{unit} {'↑' if self.higher_is_better else '↓'}"


MEASURES = {
    measure.key: measure
    for measure in (
        Measure("psnr", "PSNR", 2, unit="dB"),
        Measure("ssim", "SSIM", 4),
        Measure("ssim_uniform", "SSIM 7x7", 4),
        Measure("psnr_motion", "PSNR in motion", 2, unit="dB"),
        Measure("ssim_motion", "SSIM in motion", 4),
        Measure("iou_motion", "IoU of motion", 3),
        Measure("psnr_as_published", "PSNR as published", 2, unit="dB"),
        Measure("ssim_as_published", "SSIM as published", 4),
    )
}
DEFAULT_MEASURES = ("psnr", "ssim", "psnr_motion")
AS_PUBLISHED_OF = {"psnr": "psnr_as_published", "ssim": "ssim_as_published"}


def with_as_published(keys: Iterable[str]) -> tuple[str, ...]:
    """Each proper measure followed by its as-published twin, which so never stands alone."""
    doubled = []
    for key in keys:
        doubled += [key, AS_PUBLISHED_OF[key]] if key in AS_PUBLISHED_OF else [key]
    return tuple(doubled)


def measure_frames(source: np.ndarray, prediction: np.ndarray, truth: np.ndarray, keys: Iterable[str]) -> dict:
    """Values of pixel measures by key; nan where nothing moved and the measure asks for motion.

    Args:
        source: uint8 (H, W, 3) current frame.
        prediction: uint8 (H, W, 3) predicted future frame.
        truth: uint8 (H, W, 3) true future frame.
        keys: of MEASURES.
    """
    wanted = tuple(keys)
    mask = motion_mask(source, truth)
    values = _measure_error(prediction, truth, mask)
    values |= _measure_structure(prediction, truth, mask, set(wanted))
    if "iou_motion" in wanted:
        values["iou_motion"] = measure_iou(motion_mask(source, prediction), mask)
    return {key: values[key] for key in wanted}


def measure_iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two bool (H, W) masks; nan where both are empty."""
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else float("nan")


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
    if wanted & {"ssim", "ssim_motion", "ssim_as_published"}:
        conventions = (PROPER, AS_PUBLISHED) if "ssim_as_published" in wanted else (PROPER,)
        proper, *published = ssim_maps(prediction, truth, GAUSSIAN, conventions)
        values["ssim"] = float(proper.mean())
        values["ssim_motion"] = mean_inside(proper, mask, GAUSSIAN)
        if published:
            values["ssim_as_published"] = float(published[0].mean())
    if "ssim_uniform" in wanted:
        values["ssim_uniform"] = measure_ssim(prediction, truth, UNIFORM)
    return values
