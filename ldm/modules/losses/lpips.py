"""Distances in the features of an image classifier: LPIPS with learned heads, and the plain perceptual loss.

Source: LPIPS, arXiv 1801.03924, eq. 1, heads of version 0.1 as torchmetrics ships them; perceptual loss, arXiv
1603.08155, section 3.2. The measure of metrics is this LPIPS too. Weights are no part of a model's checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from ldm.modules.losses.trunk import DEVIATION, MEAN, TAP_WIDTHS, Hidden, Trunk, TrunkName, load_trunk, normalize

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, of [-1, 1], as LPIPS rounds them
EPS = 1e-8  # beside the squared length of a feature vector; of the published LPIPS


class VggDistance(nn.Module):
    """What LPIPS and the perceptual loss share: a frozen trunk that is filled by `load_weights`.

    Args:
        weights: torchvision's vgg16-397923af.pth; None means seeded random weights (see `load_trunk`).
    """

    def __init__(self, weights: str | None) -> None:
        super().__init__()
        self.weights = weights
        self.trunk = Hidden(Trunk())

    def load_weights(self) -> None:
        """Read the trunk's file; raises MissingFileError with the command that fetches it."""
        load_trunk(self.trunk.network, self.weights)

    def _apply(self, fn: Callable, recurse: bool = True) -> "VggDistance":
        self.trunk.move(fn)
        return super()._apply(fn, recurse)


class LPIPS(VggDistance):
    """Learned perceptual distance, on VGG16."""

    def __init__(self, weights: str | None) -> None:
        super().__init__(weights)
        self.heads = equal_heads("vgg")  # until the learned ones are read

    def load_weights(self) -> None:
        """Trunk and learned heads; a random trunk keeps equal heads."""
        super().load_weights()
        if self.weights is not None:
            self.heads = read_heads("vgg")

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of pictures (B, 3, H, W) in [-1, 1]; no gradient goes to the target."""
        with torch.no_grad():
            wanted = self.trunk(normalize(target, SHIFT, SCALE))
        found = self.trunk(normalize(prediction, SHIFT, SCALE))
        return sum(layer_distances(found, wanted, self.heads))


class PerceptualLoss(VggDistance):
    """Mean squared difference of VGG16's features after relu2_2, the layer of arXiv 1603.08155 for detail."""

    tap = 1

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of pictures (B, 3, H, W) in [-1, 1]; no gradient goes to the target."""
        with torch.no_grad():
            wanted = self.trunk(normalize((target + 1.0) / 2.0, MEAN, DEVIATION))[self.tap]
        found = self.trunk(normalize((prediction + 1.0) / 2.0, MEAN, DEVIATION))[self.tap]
        return reduce((found.float() - wanted.float()) ** 2, "b c h w -> b", "mean")


def unit(features: Tensor) -> Tensor:
    """Features (B, C, H, W) as float32 vectors of length 1 at each place."""
    wide = features.float()
    return wide / (reduce(wide**2, "b c h w -> b 1 h w", "sum") + EPS).sqrt()


def layer_distances(found: Sequence[Tensor], wanted: Sequence[Tensor], heads: Sequence[Tensor]) -> Iterator[Tensor]:
    """(B,) distance in each tapped layer, from features (B, C, h, w) and the weight of each channel (C,)."""
    for head, a, b in zip(heads, found, wanted, strict=False):  # a small picture lacks the last layers
        difference = reduce((unit(a) - unit(b)) ** 2, "b c h w -> b c", "mean")
        yield (difference * head.to(difference)).sum(dim=-1)


def equal_heads(name: TrunkName) -> list[Tensor]:
    """The same weight for each channel, (C,) a tapped layer: what goes with a random trunk."""
    return [torch.full((width,), 1.0 / width) for width in TAP_WIDTHS[name]]


def read_heads(name: TrunkName) -> list[Tensor]:
    """Learned weight of each channel, (C,) a tapped layer, version 0.1, from torchmetrics' package."""
    spec = find_spec("torchmetrics")
    file = Path(spec.origin).parent / "functional" / "image" / "lpips_models" / f"{name}.pth"
    state = torch.load(file, map_location="cpu", weights_only=True)
    return [rearrange(state[f"lin{i}.model.1.weight"], "1 c 1 1 -> c") for i in range(len(TAP_WIDTHS[name]))]
