"""The two ways in which this field computes PSNR and SSIM. Imports nothing.

Source: the papers of this project (see README, "What the published numbers mean").

Pixels stay the integers v = 0..255 of the files, so the data range is stated in the same unit:

    proper         images in [0, 1] with data_range 1    <=> v with data_range 255
    as_published   images in [0, 1] with data_range 255  <=> v with data_range 255 * 255

The second adds 20 log10(255) = 48.13 dB to every PSNR, and its SSIM constants swamp the picture.
"""

import math
from dataclasses import dataclass

PEAK = 255  # largest value of a uint8 pixel


@dataclass(frozen=True)
class Convention:
    """Data range that PSNR and SSIM divide by, in units of one grey level of 256."""

    name: str
    data_range: int
    title: str


PROPER = Convention("proper", PEAK, "proper")
AS_PUBLISHED = Convention("as_published", PEAK * PEAK, "as published")
CONVENTIONS = {convention.name: convention for convention in (PROPER, AS_PUBLISHED)}

AS_PUBLISHED_GAIN = 20.0 * math.log10(PEAK)  # dB that the wrong data range adds to every PSNR
