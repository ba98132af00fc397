"""The convolutions of VGG16 and AlexNet, the trunks of perceptual losses and measures, under torchvision's key names.

Source: VGG (arXiv 1409.1556), configuration D; AlexNet (arXiv 1404.5997). Never torchvision itself.
"""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from commands.errors import MissingFileError, UserError

TrunkName = Literal["vgg", "alex"]
FILES: dict[TrunkName, str] = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}  # torchvision's names
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]
RANDOM_SEED = 0
VGG_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: maximum of 2 x 2
ALEX_SHAPES = ((64, 11, 4, 2), (), (192, 5, 1, 2), (), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))  # (): 3 x 3
TAPS: dict[TrunkName, tuple[int, ...]] = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}  # relu1_2, relu2_2, ...
TAP_WIDTHS: dict[TrunkName, tuple[int, ...]] = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}


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


class Trunk(nn.Module):
    """Features of a picture after five layers.

    Args:
        name: vgg or alex.
    """

    def __init__(self, name: TrunkName = "vgg") -> None:
        super().__init__()
        self.taps = TAPS[name]
        shapes = ALEX_SHAPES if name == "alex" else [(width, 3, 1, 1) if width else () for width in VGG_WIDTHS]
        layers: list[nn.Module] = []
        channels = 3
        for shape in shapes:
            if shape:
                layers += [nn.Conv2d(channels, *shape), nn.ReLU()]
                channels = shape[0]
            else:
                layers.append(nn.MaxPool2d(3 if name == "alex" else 2, stride=2))
        self.features = nn.Sequential(*layers)

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Features of normalised pictures (B, 3, H, W), finest first; layers that a small picture lacks are left out.

        A maximum of 2 x 2 needs 2 pixels: pictures under 16 pixels have fewer than five maps of VGG's.
        """
        found = []
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool2d) and min(frame.shape[-2:]) < layer.kernel_size:
                break
            frame = layer(frame)
            if index in self.taps:
                found.append(frame)
        return found


def normalize(frame: Tensor, shift: tuple[float, ...], scale: tuple[float, ...]) -> Tensor:
    """(frame - shift) / scale, channel by channel."""
    shift_, scale_ = (
        rearrange(torch.tensor(v, dtype=frame.dtype, device=frame.device), "c -> c 1 1") for v in (shift, scale)
    )
    return (frame - shift_) / scale_


def load_trunk(trunk: Trunk, weights: str | Path | None) -> None:
    """Fill a trunk from torchvision's file, or at random from a fixed seed.

    Args:
        trunk: changed in place.
        weights: one of FILES; None fills He-initialised random weights, the same on every machine: a distance in
            untrained features, for small runs without downloads, not comparable with published ones.

    Raises:
        MissingFileError: with the command that fetches the file.
        UserError: if the file is damaged or of another network.
    """
    if weights is None:
        _fill_randomly(trunk)
        return
    if not Path(weights).is_file():
        raise MissingFileError(
            f"the perceptual loss needs VGG16's weights, {weights} is absent.\n"
            "Fetch them with: python -m stable_diffusion.weights fetch vgg16"
        )
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        trunk.load_state_dict({name: value for name, value in state.items() if name.startswith("features.")})
    except (RuntimeError, EOFError, UnpicklingError, AttributeError) as error:
        raise UserError(
            f"{weights} is not torchvision's file of this network, or half of it; delete it and fetch it again."
        ) from error


@torch.no_grad()
def _fill_randomly(trunk: Trunk) -> None:
    """He initialisation from a fixed seed: the same trunk on every machine."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    for layer in trunk.features:
        if isinstance(layer, nn.Conv2d):
            drawn = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(drawn * (2.0 / layer.weight[0].numel()) ** 0.5)
            layer.bias.zero_()
