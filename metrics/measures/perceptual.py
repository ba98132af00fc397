"""LPIPS: distance of pictures in the features of an image classifier.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features" (arXiv 1801.03924), eq. 1, with the version 0.1
heads that torchmetrics ships. The trunk is VGG16 or AlexNet as torchvision publishes it; its weights are looked for in
a folder and never downloaded. Without them a trunk with seeded random weights and equal heads can be measured under its
own name, "random trunk": it is another number, not comparable with published LPIPS.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torchmetrics
from einops import rearrange, reduce
from torch import Tensor, nn

from commands.errors import UserError
from formats.prepared_folder import FramePair
from ldm.data.pixels import array_to_tensor, to_signed

TRUNK_FILES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}  # torchvision's names
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, of [-1, 1]
RANDOM_SEED = 0
LEAST_SIDE = {"vgg": 16, "alex": 31}  # pixels; below, a pooling layer has nothing to pool
_Layers = tuple[tuple, ...]
_VGG: _Layers = tuple(
    (("c", width, 3, 1, 1), ("r",))[part] if width else ("p", 2)
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
    for part in range(2 if width else 1)
)
_ALEX: _Layers = (
    ("c", 64, 11, 4, 2), ("r",), ("p", 3), ("c", 192, 5, 1, 2), ("r",), ("p", 3),
    ("c", 384, 3, 1, 1), ("r",), ("c", 256, 3, 1, 1), ("r",), ("c", 256, 3, 1, 1), ("r",),
)  # fmt: skip
ARCHITECTURES = {"vgg": (_VGG, (3, 8, 15, 22, 29)), "alex": (_ALEX, (1, 4, 7, 9, 11))}  # layers, taps


class Trunk(nn.Module):
    """The convolutions of VGG16 or AlexNet, under torchvision's key names.

    Args:
        name: vgg or alex.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        layers, self.taps = ARCHITECTURES[name]
        channels, modules = 3, []
        for kind, *numbers in layers:
            if kind == "c":
                width, side, stride, padding = numbers
                modules.append(nn.Conv2d(channels, width, side, stride, padding))
                channels = width
            else:
                modules.append(nn.ReLU() if kind == "r" else nn.MaxPool2d(numbers[0], stride=2))
        self.features = nn.Sequential(*modules)

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Features of (B, 3, H, W) normalised pictures after each tapped layer, finest first."""
        outputs = []
        for index, layer in enumerate(self.features):
            frame = layer(frame)
            if index in self.taps:
                outputs.append(frame)
        return outputs


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
            ValueError: if the file of weights is damaged.
        """
        trunk = Trunk(self.name).eval().requires_grad_(False)
        if self.weights is None:
            _fill_randomly(trunk)
            return trunk, [torch.full((width,), 1.0 / width) for width in _widths(trunk)]
        path = self.weights / TRUNK_FILES[self.name]
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            trunk.load_state_dict({key: value for key, value in state.items() if key.startswith("features.")})
        except (RuntimeError, EOFError, UnpicklingError, AttributeError) as error:
            raise UserError(
                f"{path} is not torchvision's file, or half of it; delete it and fetch it again."
            ) from error
        return trunk, read_heads(self.name)

    def measure(self, pair: FramePair, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """LPIPS of a uint8 (H, W, 3) prediction against the truth."""
        return {self.keys[0]: self.distance(prediction, truth)}

    def distance(self, prediction: np.ndarray, truth: np.ndarray) -> float:
        """LPIPS of two uint8 (H, W, 3) pictures: 0 for equal ones.

        Raises:
            ValueError: if the pictures are smaller than the trunk can see.
        """
        least = LEAST_SIDE[self.name]
        if min(truth.shape[:2]) < least:
            raise UserError(
                f"{self.keys[0]} needs pictures of {least} px or more a side, not {truth.shape[1]}x{truth.shape[0]}; "
                "give a larger --size, or leave it out of --measures."
            )
        trunk, heads = self.network
        frames = torch.stack([to_signed(array_to_tensor(pixels)) for pixels in (prediction, truth)])
        shift, scale = (rearrange(torch.tensor(numbers), "c -> 1 c 1 1") for numbers in (SHIFT, SCALE))
        total = 0.0
        for features, head in zip(trunk((frames - shift) / scale), heads, strict=True):
            unit = features / (reduce(features**2, "b c h w -> b 1 h w", "sum") + 1e-8).sqrt()
            difference = reduce((unit[0] - unit[1]) ** 2, "c h w -> c", "mean")
            total += float((difference * head).sum())
        return total


def read_heads(name: str) -> list[Tensor]:
    """Learned weight of each channel, (C,) a tapped layer, version 0.1, from torchmetrics' package."""
    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    state = torch.load(folder / f"{name}.pth", map_location="cpu", weights_only=True)
    return [rearrange(state[f"lin{i}.model.1.weight"], "1 c 1 1 -> c") for i in range(5)]


def _widths(trunk: Trunk) -> list[int]:
    convolutions = [layer for layer in trunk.features if isinstance(layer, nn.Conv2d)]
    tapped = [trunk.features[tap - 1] for tap in trunk.taps]
    return [layer.out_channels for layer in convolutions if any(layer is other for other in tapped)]


def _fill_randomly(trunk: Trunk) -> None:
    """He initialisation from a fixed seed: the same trunk on every machine."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    for layer in trunk.features:
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2.0 / fan_in) ** 0.5)
            layer.bias.zero_()
