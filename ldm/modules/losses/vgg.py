"""VGG16's convolutions, the trunk of perceptual losses, under torchvision's key names.

Source: VGG (arXiv 1409.1556), configuration D. Imports torch only; never torchvision.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from commands.errors import MissingFileError, UserError

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: maximum of 2 x 2
TAPS = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
TAP_WIDTHS = (64, 128, 256, 512, 512)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # the same of [-1, 1], as LPIPS rounds them
RANDOM_SEED = 0


class Hidden:
    """A frozen network outside the module tree: in no state dict, no parameter list, no DDP, never in training mode.

    Its owner moves it along by calling `move` from `_apply`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    def move(self, function: Callable[[Tensor], Tensor]) -> None:
        """Apply what the owner's `.to(...)` applies."""
        self.network._apply(function)  # noqa: SLF001 - the same hook that nn.Module uses for its children

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """What the network returns."""
        return self.network(*inputs)


class VggTrunk(nn.Module):
    """Features of a picture after five layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Features of normalised pictures (B, 3, H, W), finest first; layers that a small picture lacks are left out.

        A 2 x 2 maximum needs 2 pixels: pictures under 16 pixels have fewer than five feature maps.
        """
        found = []
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool2d) and min(frame.shape[-2:]) < 2:
                break
            frame = layer(frame)
            if index in TAPS:
                found.append(frame)
        return found


def normalize(frame: Tensor, shift: tuple[float, ...], scale: tuple[float, ...]) -> Tensor:
    """(frame - shift) / scale, channel by channel."""
    shift_, scale_ = (
        rearrange(torch.tensor(v, dtype=frame.dtype, device=frame.device), "c -> c 1 1") for v in (shift, scale)
    )
    return (frame - shift_) / scale_


def load_trunk(trunk: VggTrunk, weights: str | Path | None) -> None:
    """Fill a trunk from torchvision's file, or at random from a fixed seed.

    Args:
        trunk: changed in place.
        weights: `vgg16-397923af.pth`; None fills He-initialised random weights, the same on every machine: a
            distance in untrained features, for small runs without downloads, not comparable with published losses.

    Raises:
        FileNotFoundError: with the command that fetches the file.
        ValueError: if the file holds no VGG16.
    """
    if weights is None:
        generator = torch.Generator().manual_seed(RANDOM_SEED)
        with torch.no_grad():
            for layer in trunk.features:
                if isinstance(layer, nn.Conv2d):
                    drawn = torch.randn(layer.weight.shape, generator=generator)
                    layer.weight.copy_(drawn * (2.0 / layer.weight[0].numel()) ** 0.5)
                    layer.bias.zero_()
        return
    if not Path(weights).is_file():
        raise MissingFileError(
            f"the perceptual loss needs VGG16's weights, {weights} is absent.\n"
            "Fetch them with: python -m stable_diffusion.weights fetch vgg16"
        )
    state = torch.load(weights, map_location="cpu", weights_only=True)
    kept = {name: value for name, value in state.items() if name.startswith("features.")}
    if kept.keys() != trunk.state_dict().keys():
        raise UserError(f"{weights} holds no VGG16 as torchvision names it; wanted vgg16-397923af.pth.")
    trunk.load_state_dict(kept)
