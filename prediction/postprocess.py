"""Changes to predicted pictures that are off unless asked for: colour balance to the input, sharpening.

Source: light_future's post-processing. Torch and kornia. Measured numbers are of predictions without these.
"""

from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from commands.errors import UserError

SHARPEN_KERNEL = 5  # pixels
SHARPEN_SIGMA = 1.0
BALANCE_LIMITS = (0.5, 2.0)  # a channel's contrast is changed by no more


@dataclass(frozen=True)
class Postprocess:
    """What is done to a predicted picture.

    Args:
        colour_balance: give each colour channel the mean and deviation that it has in the input.
        sharpen: strength of an unsharp mask, 0 to 2; 0 leaves it.
    """

    colour_balance: bool = False
    sharpen: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.sharpen <= 2.0:
            raise UserError(f"sharpening {self.sharpen} is outside [0, 2]; 0.5 is mild.")

    def names(self) -> list[str]:
        """What was done, for records and captions; empty if nothing."""
        done = ["colour balance"] if self.colour_balance else []
        return done + ([f"sharpen {self.sharpen:g}"] if self.sharpen else [])

    def __call__(self, predicted: Tensor, source: Tensor) -> Tensor:
        """Changed predictions (B, 3, H, W) uint8 of the frames `source` of the same shape and type."""
        if not self.names():
            return predicted
        pixels = predicted.float()
        if self.colour_balance:
            pixels = balance_colours(pixels, source.to(pixels))
        if self.sharpen:
            pixels = sharpen(pixels, self.sharpen)
        return pixels.clamp(0, 255).round().to(torch.uint8)


def balance_colours(pixels: Tensor, like: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) with the channel means and deviations of `like`; Reinhard et al. 2001, in RGB."""
    mean, wanted = (reduce(x, "b c h w -> b c 1 1", "mean") for x in (pixels, like))
    spread, wanted_spread = (x.std(dim=(2, 3), keepdim=True) for x in (pixels, like))
    gain = (wanted_spread / spread.clamp(min=1e-3)).clamp(*BALANCE_LIMITS)
    return (pixels - mean) * gain + wanted


def sharpen(pixels: Tensor, amount: float) -> Tensor:
    """Unsharp mask of pixels (B, 3, H, W): what a Gaussian blur takes away is added once more, `amount` times."""
    from kornia.filters import gaussian_blur2d

    size = (SHARPEN_KERNEL, SHARPEN_KERNEL)
    side = min(pixels.shape[-2:])
    if side < SHARPEN_KERNEL:
        return pixels
    blurred = gaussian_blur2d(pixels, size, (SHARPEN_SIGMA, SHARPEN_SIGMA))
    return pixels + amount * (pixels - blurred)
