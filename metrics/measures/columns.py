"""The columns that a table may have: key, title, unit and which way is better."""

from collections.abc import Iterable
from dataclasses import dataclass

from commands.errors import UserError
from metrics.measures.blocks import COLOURS

ARROWS = {True: " ↑", False: " ↓", None: ""}


@dataclass(frozen=True)
class Measure:
    """One column of a table; its key names it in csv and json.

    A column is the mean of a value over pairs, or one of its quantiles.
    """

    key: str
    title: str
    digits: int
    higher_is_better: bool | None = True  # None: neither, so no row is the best by it
    unit: str = ""
    quantile: float | None = None
    value: str = ""  # key of the value, where it is not the column's own

    @property
    def heading(self) -> str:
        """Title with unit and direction, "PSNR dB ↑"."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.title}{unit}{ARROWS[self.higher_is_better]}"

    @property
    def value_key(self) -> str:
        """Key of the values of pairs that the column is made of."""
        return self.value or self.key


_PIXEL = (
    Measure("psnr", "PSNR", 2, unit="dB"),
    Measure("ssim", "SSIM", 4),
    Measure("ssim_uniform", "SSIM 7x7", 4),
    Measure("ms_ssim", "MS-SSIM", 4),
    Measure("psnr_motion", "PSNR in motion", 2, unit="dB"),
    Measure("ssim_motion", "SSIM in motion", 4),
    Measure("iou_motion", "IoU of motion", 3),
    Measure("copyness", "Copy-ness", 3, higher_is_better=False),
    Measure("sharpness", "Sharpness", 3, higher_is_better=None),
    Measure("psnr_as_published", "PSNR as published", 2, unit="dB"),
    Measure("ssim_as_published", "SSIM as published", 4),
    Measure("ssim_uniform_as_published", "SSIM 7x7 as published", 4),
)
_BLOCK = (
    Measure("block_error", "Block error", 1, higher_is_better=False, unit="px"),
    Measure("block_lost", "Blocks lost", 3, higher_is_better=False),
    *(Measure(f"block_error_{c}", f"{c.capitalize()} block error", 1, False, "px") for c in COLOURS),
)
_NETWORK = (
    Measure("lpips_vgg", "LPIPS VGG", 4, higher_is_better=False),
    Measure("lpips_alex", "LPIPS Alex", 4, higher_is_better=False),
    Measure("lpips_vgg_random", "LPIPS VGG (random trunk)", 4, higher_is_better=False),
    Measure("lpips_alex_random", "LPIPS Alex (random trunk)", 4, higher_is_better=False),
    Measure("clip_text", "CLIP to sentence", 2),
    Measure("clip_image", "CLIP to truth", 2),
)
_DISTRIBUTION = (
    Measure("fid", "FID", 1, higher_is_better=False),
    Measure("kid", "KID x 1000", 2, higher_is_better=False),
)
_POSITION = (
    Measure("gripper_error_cm", "Gripper error", 2, False, "cm", quantile=0.5),
    Measure("gripper_error_cm_p90", "Gripper error, 90 %", 2, False, "cm", quantile=0.9, value="gripper_error_cm"),
    Measure("block_error_cm", "Block error", 2, False, "cm", quantile=0.5),
    Measure("block_error_cm_p90", "Block error, 90 %", 2, False, "cm", quantile=0.9, value="block_error_cm"),
)
_SWAP = (
    Measure("swap_change", "Change by sentence", 2, unit="levels"),
    Measure("swap_gain", "PSNR gain of the right sentence", 2, unit="dB"),
    Measure("swap_better", "Right sentence nearer", 3),
)

PIXEL_KEYS = tuple(measure.key for measure in (*_PIXEL, *_BLOCK))
NETWORK_KEYS = tuple(measure.key for measure in _NETWORK)
DISTRIBUTION_KEYS = tuple(measure.key for measure in _DISTRIBUTION)
POSITION_KEYS = tuple(measure.key for measure in _POSITION)
SWAP_KEYS = tuple(measure.key for measure in _SWAP)
MEASURES = {measure.key: measure for measure in (*_PIXEL, *_BLOCK, *_NETWORK, *_DISTRIBUTION, *_POSITION, *_SWAP)}
CHOOSABLE = (*PIXEL_KEYS, *NETWORK_KEYS, *DISTRIBUTION_KEYS)
DEFAULT_MEASURES = ("psnr", "ssim", "psnr_motion", "sharpness")
AS_PUBLISHED_OF = {key: f"{key}_as_published" for key in ("psnr", "ssim", "ssim_uniform")}


def with_as_published(keys: Iterable[str]) -> tuple[str, ...]:
    """Each proper measure followed by its as-published twin."""
    doubled: list[str] = []
    for key in keys:
        doubled += [key, AS_PUBLISHED_OF[key]] if key in AS_PUBLISHED_OF else [key]
    return tuple(dict.fromkeys(doubled))


def parse_measures(text: str) -> tuple[str, ...]:
    """ "psnr,ssim" => keys; an as-published one brings its proper twin, so that it never stands alone.

    Raises:
        UserError: naming the unknown measure and the known ones.
    """
    proper_of = {published: key for key, published in AS_PUBLISHED_OF.items()}
    keys: list[str] = []
    for key in text.split(","):
        if key not in CHOOSABLE:
            raise UserError(f"no measure '{key}'; there are {', '.join(CHOOSABLE)}.")
        keys += [proper_of[key], key] if key in proper_of else [key]
    return tuple(dict.fromkeys(keys))
