"""A tiny autoencoder for Stable Diffusion's latents: plain convolutions, some twenty times cheaper than the real one.

Source: TAESD (madebyollin/taesd) for the layout; its decoder was distilled from the real one's. Names of weights are
diffusers' (AutoencoderTiny); TAESD's own file of the decoder is renamed as it is read. TAESD works on *scaled* latents
and on pixels in [0, 1]; here frames are in [-1, 1] as everywhere, and latents are not scaled, as those of every first
stage.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from commands.errors import MissingFileError, UserError
from ldm.models.autoencoder import FirstStage
from ldm.modules.distributions.distributions import DeltaDistribution
from ldm.util import describe_misfit

ENCODER_DEPTHS = (1, 3, 3, 3)  # residual blocks at each resolution, from full resolution down
DECODER_DEPTHS = (3, 3, 3, 1)  # the same from the latent up
BOUND = 3.0  # scaled latents beyond it hold nothing: the decoder squeezes them by a hyperbolic tangent
FIRST_INDEX = 1  # number of the decoder's first convolution in TAESD's file: the squeeze is layer 0
FETCH = "Fetch one with: python -m stable_diffusion.weights fetch taesd"


class TinyBlock(nn.Module):
    """Three convolutions added to their input, then ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (_convolution(width, width) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) => the same shape."""
        return torch.relu(self.conv(x) + x)


def _convolution(channels: int, wider: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, wider, 3, stride, padding=1, bias=bias)


class TinyEncoder(nn.Module):
    """Frame to scaled latent.

    Args:
        latent_channels: C of the latent.
        width: channels of every layer between.
    """

    def __init__(self, latent_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level, depth in enumerate(ENCODER_DEPTHS):
            entry = _convolution(width, width, 2, bias=False) if level else _convolution(3, width)
            layers += [entry, *(TinyBlock(width) for _ in range(depth))]
        self.layers = nn.Sequential(*layers, _convolution(width, latent_channels))

    def forward(self, frame: Tensor) -> Tensor:
        """Scaled latents (B, C, H/8, W/8) of frames (B, 3, H, W) in [-1, 1]; H and W multiples of 8."""
        return self.layers((frame + 1.0) / 2.0)


class TinyDecoder(nn.Module):
    """Latent to frame.

    Args:
        scale_factor: what the diffusion model multiplies latents by; 0.18215 for SD v1.
        latent_channels: C of the latent.
        width: channels of every layer between.
        weights: file that `load_weights` reads: TAESD's decoder, or diffusers' file of both parts.
    """

    def __init__(
        self, scale_factor: float, latent_channels: int = 4, width: int = 64, weights: str | None = None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(latent_channels, width), nn.ReLU()]
        for level, depth in enumerate(DECODER_DEPTHS):
            if level:
                layers += [nn.Upsample(scale_factor=2), _convolution(width, width, bias=False)]
            layers += [TinyBlock(width) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, _convolution(width, 3))
        self.scale_factor = scale_factor
        self.latent_channels = latent_channels
        self.downsampling_factor = 2 ** (len(DECODER_DEPTHS) - 1)
        self.weights = weights

    def load_weights(self) -> None:
        """Read the file that the constructor was told of.

        Raises:
            MissingFileError: with the command that fetches it.
            UserError: if none was named, or it holds no decoder of this size.
        """
        if self.weights is None:
            raise UserError(f"the tiny decoder names no file: give it weights: <file>.\n{FETCH}")
        _fill(self, read_decoder(Path(self.weights)), Path(self.weights))

    def forward(self, z: Tensor) -> Tensor:
        """Frames (B, 3, 8 h, 8 w), about [-1, 1], of scaled latents (B, C, h, w)."""
        return 2.0 * self.layers(BOUND * torch.tanh(z / BOUND)) - 1.0

    def decode(self, latent: Tensor) -> Tensor:
        """Frames (B, 3, 8 h, 8 w), about [-1, 1], of unscaled latents (B, C, h, w).

        Raises:
            UserError: if the latents are another first stage's, told by their channels.
        """
        if latent.shape[1] != self.latent_channels:
            raise UserError(
                f"latents of {latent.shape[1]} channels: the tiny decoder takes {self.latent_channels}; leave it out, "
                "or name the one that was made for this model's first stage."
            )
        return self(latent * self.scale_factor)


class TinyAutoencoder(FirstStage):
    """Both parts as a first stage: encode(frame) -> distribution, decode(z) -> frame; latents are not scaled.

    Its state dict has the names of diffusers' AutoencoderTiny.

    Args:
        scale_factor, latent_channels, width: see TinyDecoder.
    """

    def __init__(self, scale_factor: float, latent_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        self.encoder = TinyEncoder(latent_channels, width)
        self.decoder = TinyDecoder(scale_factor, latent_channels, width)
        self.scale_factor = scale_factor
        self.latent_channels = latent_channels
        self.downsampling_factor = self.decoder.downsampling_factor

    def encode(self, frame: Tensor) -> DeltaDistribution:
        """Latent (B, C, H/8, W/8) of frames (B, 3, H, W) in [-1, 1]; without chance."""
        self.check_size(frame)
        return DeltaDistribution(self.encoder(frame) / self.scale_factor)

    def decode(self, z: Tensor) -> Tensor:
        """Frames (B, 3, 8 h, 8 w), about [-1, 1], of unscaled latents (B, C, h, w)."""
        return self.decoder.decode(z)


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a decoder under the names of TinyDecoder; empty where there is none.

    Args:
        tensors: by the names of diffusers (`decoder.layers.2.conv.0.weight`) or of TAESD (`3.conv.0.weight`).
    """
    numbered = {name: re.fullmatch(r"(\d+)\.(.+)", name) for name in tensors}
    if tensors and all(numbered.values()):
        if f"{FIRST_INDEX}.weight" not in tensors or min(int(found[1]) for found in numbered.values()) != FIRST_INDEX:
            return {}
        return {f"layers.{int(found[1]) - FIRST_INDEX}.{found[2]}": tensors[name] for name, found in numbered.items()}
    prefixed = {name: re.fullmatch(r"decoder\.(layers\.\d+\..+)", name) for name in tensors}
    return {found[1]: tensors[name] for name, found in prefixed.items() if found}


def read_decoder(path: Path) -> dict[str, Tensor]:
    """Tensors of the decoder in a .safetensors file, named as here.

    Raises:
        MissingFileError: with the command that fetches it.
        UserError: if the file is no .safetensors, or holds no decoder.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no tiny decoder {path}.\n{FETCH}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is no .safetensors file, or not whole: {error}.\n{FETCH}") from error
    found = from_published(tensors)
    if not found:
        first = next(iter(sorted(tensors)), "nothing")
        raise UserError(f"{path} holds no tiny decoder under TAESD's or diffusers' names, but {first}.\n{FETCH}")
    return found


def _fill(network: nn.Module, found: Mapping[str, Tensor], path: Path) -> None:
    """Fill a network; every tensor must be there, with its shape, and no other."""
    misfit = describe_misfit(found, network.state_dict())
    if misfit:
        raise UserError(f"{path} does not fit the tiny autoencoder: {misfit}.\n{FETCH}")
    network.load_state_dict(found)


def load_tiny_decoder(path: Path, scale_factor: float) -> TinyDecoder:
    """The frozen decoder of a file, its channels and width read from it, on the CPU and in eval mode.

    Args:
        path: taesd_decoder.safetensors of TAESD, or the file of diffusers' AutoencoderTiny.
        scale_factor: what the diffusion model multiplies latents by; 0.18215 for SD v1.

    Raises:
        MissingFileError: with the command that fetches a file.
        UserError: if the file holds no tiny decoder.
    """
    found = read_decoder(Path(path))
    first = found.get("layers.0.weight")
    if first is None or first.dim() != 4:
        raise UserError(f"{path} does not fit the tiny autoencoder: it has no convolution layers.0.weight.\n{FETCH}")
    width, channels = first.shape[:2]
    network = TinyDecoder(scale_factor, channels, width)
    _fill(network, found, path)
    return network.eval().requires_grad_(False)
