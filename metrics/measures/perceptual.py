"""LPIPS: distance of pictures in the features of an image classifier.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features" (arXiv 1801.03924), eq. 1, computed by
ldm.modules.losses.lpips. The trunk is VGG16 or AlexNet as torchvision publishes it; its weights are looked for in a
folder and never downloaded. Without them a trunk with seeded random weights and equal heads can be measured under its
own name, "random trunk": it is another number, not comparable with published LPIPS.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from commands.errors import UserError
from formats.prepared_folder import FramePair
from ldm.data.pixels import array_to_tensor, to_signed
from ldm.modules.losses.lpips import SCALE, SHIFT, equal_heads, layer_distances, read_heads
from ldm.modules.losses.trunk import FILES as TRUNK_FILES
from ldm.modules.losses.trunk import RANDOM_SEED, Trunk, load_trunk, normalize

LEAST_SIDE = {"vgg": 16, "alex": 31}  # pixels; below, a pooling layer has nothing to pool


@dataclass(frozen=True)
class Lpips:
    """Measures LPIPS with one trunk.

    Args:
        name: vgg or alex.
        weights: folder with torchvision's file of the trunk; None means the random trunk.
    """

    name: str
    weights: Path | None = None

    def __reduce__(self) -> tuple:
        """Another process reads the network itself."""
        return type(self), (self.name, self.weights)

    @property
    def keys(self) -> tuple[str, ...]:
        """lpips_<name>, or lpips_<name>_random."""
        return (f"lpips_{self.name}" + ("" if self.weights else "_random"),)

    @cached_property
    def version(self) -> str:
        """First digits of the weights' SHA-256, or the seed."""
        if self.weights is None:
            return f"seed {RANDOM_SEED}"
        return hashlib.sha256((self.weights / TRUNK_FILES[self.name]).read_bytes()).hexdigest()[:16]

    @cached_property
    def network(self) -> tuple[Trunk, list[Tensor]]:
        """Trunk and the weight of each channel of each tapped layer, (C,).

        Raises:
            UserError: if the file of weights is damaged.
        """
        trunk = Trunk(self.name).eval().requires_grad_(False)
        load_trunk(trunk, self.weights and self.weights / TRUNK_FILES[self.name])
        return trunk, read_heads(self.name) if self.weights else equal_heads(self.name)

    def measure(self, pair: FramePair, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """LPIPS of a uint8 (H, W, 3) prediction against the truth."""
        return {self.keys[0]: self.distance(prediction, truth)}

    def distance(self, prediction: np.ndarray, truth: np.ndarray) -> float:
        """LPIPS of two uint8 (H, W, 3) pictures: 0 for equal ones.

        Raises:
            UserError: if the pictures are smaller than the trunk can see.
        """
        least = LEAST_SIDE[self.name]
        if min(truth.shape[:2]) < least:
            raise UserError(
                f"{self.keys[0]} needs pictures of {least} px or more a side, not {truth.shape[1]}x{truth.shape[0]}; "
                "give a larger --size, or leave it out of --measures."
            )
        trunk, heads = self.network
        frames = torch.stack([to_signed(array_to_tensor(pixels)) for pixels in (prediction, truth)])
        found, wanted = zip(*(f.split(1) for f in trunk(normalize(frames, SHIFT, SCALE))), strict=True)
        return sum(float(distance) for distance in layer_distances(found, wanted, heads))
