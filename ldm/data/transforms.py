"""Paired augmentation: what is done to the current frame is done to the future frame, and the sentence follows.

Source: afp (random crop, brightness +-20 %), acp (flip), morpheus (conditional augmentation: view and light). On
tensors, one generator a sample: a sample's augmentation depends on its seed alone.
"""

import re

import kornia.enhance
import kornia.geometry.transform as geometry
import torch
from torch import Tensor

from commands.errors import UserError

SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def swap_sides(sentence: str) -> str:
    """The sentence of the mirrored scene: the words left and right change places, their case stays."""

    def other(match: re.Match) -> str:
        word = match.group()
        swapped = "right" if word.lower() == "left" else "left"
        return swapped.upper() if word.isupper() else swapped.capitalize() if word[0].isupper() else swapped

    return SIDES.sub(other, sentence)


class PairedAugmentation:
    """Random changes of a pair, the same in both frames; every number 0 (and crop 1) changes nothing.

    Args:
        crop: least side of the random square that is cut out and enlarged again, over the frame's side; in (0, 1].
        brightness: largest relative change of the pixel values, both ways; 0.2 is +-20 %.
        flip: probability of a mirror image; the words left and right in the sentence swap too. Off by default, since
            it makes a right-handed robot left-handed.
        view: largest shift of a corner by a random homography, over the frame's side: another view of the same scene.
        light: largest relative change of gain, and of the logarithm of gamma, both ways: another lamp.
        probability: of `view` and `light` happening at all to a pair.
    """

    def __init__(
        self,
        crop: float = 1.0,
        brightness: float = 0.0,
        flip: float = 0.0,
        view: float = 0.0,
        light: float = 0.0,
        probability: float = 1.0,
    ) -> None:
        shares = {"brightness": brightness, "flip": flip, "light": light, "probability": probability}
        wrong = [f"{name} {value}" for name, value in shares.items() if not 0.0 <= value <= 1.0]
        if not 0.0 < crop <= 1.0:
            wrong.append(f"crop {crop}")
        if not 0.0 <= view < 0.5:
            wrong.append(f"view {view}")
        if wrong:
            raise UserError(
                f"augmentation: {', '.join(wrong)}; wanted crop in (0, 1], view in [0, 0.5), others [0, 1]."
            )
        self.crop = crop
        self.brightness = brightness
        self.flip = flip
        self.view = view
        self.light = light
        self.probability = probability

    def __call__(self, frames: Tensor, sentence: str, generator: torch.Generator) -> tuple[Tensor, str]:
        """Augmented frames and their sentence.

        Args:
            frames: (N, 3, S, S) in [0, 1]: the current frame, the future frame, and others that belong to them.
            sentence: the instruction.
            generator: of this sample.
        """
        draws = torch.rand(16, generator=generator)  # always as many, so one switch does not move another's luck
        happens = bool(draws[0] < self.probability)
        if self.crop < 1.0:
            frames = crop_square(frames, self.crop + (1.0 - self.crop) * draws[1], draws[2:4])
        if self.view and happens:
            frames = change_view(frames, self.view * (2.0 * draws[4:12] - 1.0))
        if self.brightness:
            factor = 1.0 + self.brightness * (2.0 * float(draws[12]) - 1.0)
            frames = kornia.enhance.adjust_brightness_accumulative(frames, factor)
        if self.light and happens:
            gain, gamma = 1.0 + self.light * (2.0 * float(draws[13]) - 1.0), self.light * (2.0 * float(draws[14]) - 1.0)
            frames = kornia.enhance.adjust_gamma(frames, gamma=float(torch.tensor(gamma).exp()), gain=gain)
        if draws[15] < self.flip:
            return frames.flip(-1), swap_sides(sentence)
        return frames, sentence


def crop_square(frames: Tensor, share: Tensor, place: Tensor) -> Tensor:
    """A square of frames (N, 3, S, S), enlarged to S again.

    Args:
        frames: of one side S.
        share: () side of the square over S.
        place: (2,) in [0, 1): how far right and down it lies within what is free.
    """
    last = frames.shape[-1] - 1
    side = share * last
    left, top = place * (last - side)
    right, bottom = left + side, top + side
    corners = torch.stack([left, top, right, top, right, bottom, left, bottom]).reshape(1, 4, 2)
    boxes = corners.expand(len(frames), -1, -1)
    return geometry.crop_and_resize(frames, boxes.to(frames), frames.shape[-2:], align_corners=True).clamp(0.0, 1.0)


def change_view(frames: Tensor, shifts: Tensor) -> Tensor:
    """Frames (N, 3, S, S) under the homography that moves each corner; the border is repeated outwards.

    Args:
        frames: of one side S.
        shifts: (8,) of the corners (x, y), clockwise from top left, over S.
    """
    last = frames.shape[-1] - 1
    corners = torch.tensor([[[0.0, 0.0], [last, 0.0], [last, last], [0.0, last]]])
    moved = corners + last * shifts.reshape(1, 4, 2)
    matrix = geometry.get_perspective_transform(corners, moved).expand(len(frames), -1, -1).to(frames)
    warped = geometry.warp_perspective(frames, matrix, frames.shape[-2:], padding_mode="border", align_corners=True)
    return warped.clamp(0.0, 1.0)
