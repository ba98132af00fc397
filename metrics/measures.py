"""What is measured on one (current frame, prediction, true future frame). Layer 1.

Every measure has a key (its column in csv and json), a title, and knows which way is better.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from metrics.convention import AS_PUBLISHED, PROPER
from metrics.motion import motion_mask
from metrics.pixel import measure_mse, psnr_of_mse
from metrics.ssim import WINDOWS, mean_inside, measure_moments, ssim_map


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
    wanted = set(keys)
    mask = motion_mask(source, truth)
    values = _measure_error(prediction, truth, mask)
    values |= _measure_structure(prediction, truth, mask, wanted)
    if "iou_motion" in wanted:
        values["iou_motion"] = measure_iou(motion_mask(source, prediction), mask)
    return {key: values[key] for key in keys}


def measure_iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two bool (H, W) masks; nan where both are empty."""
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else float("nan")


def _measure_error(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    mse = measure_mse(prediction, truth)
    return {
        "psnr": psnr_of_mse(mse, PROPER),
        "psnr_as_published": psnr_of_mse(mse, AS_PUBLISHED),
        "psnr_motion": psnr_of_mse(measure_mse(prediction, truth, mask), PROPER),
    }


def _measure_structure(
    prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray, wanted: set[str]
) -> dict[str, float]:
    values = {}
    if wanted & {"ssim", "ssim_motion", "ssim_as_published"}:
        moments = measure_moments(prediction, truth, WINDOWS["gaussian"])
        proper = ssim_map(moments, PROPER)
        values["ssim"] = float(proper.mean())
        values["ssim_motion"] = mean_inside(proper, mask, moments.radius)
        if "ssim_as_published" in wanted:
            values["ssim_as_published"] = float(ssim_map(moments, AS_PUBLISHED).mean())
    if "ssim_uniform" in wanted:
        moments = measure_moments(prediction, truth, WINDOWS["uniform"])
        values["ssim_uniform"] = float(ssim_map(moments, PROPER).mean())
    return values
