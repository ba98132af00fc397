"""A tiny autoencoder for Stable Diffusion's latents: plain convolutions, some twenty times cheaper than the real one.

Source: TAESD (madebyollin/taesd) for the layout; its decoder was distilled from the real one's. Imports torch,
safetensors and ldm.modules. Names of weights are diffusers' (AutoencoderTiny); TAESD's own files are renamed as they
are read. TAESD works on *scaled* latents and on pixels in [0, 1]; here frames are in [-1, 1] as everywhere, and latents
are not scaled, as those of every first stage.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from commands.errors import MissingFileError, UserError
from ldm.modules.distributions.distributions import DeltaDistribution
from ldm.util import describe_misfit

Part = Literal["encoder", "decoder"]

ENCODER_DEPTHS = (1, 3, 3, 3)  # residual blocks at each resolution, from full resolution down
DECODER_DEPTHS = (3, 3, 3, 1)  # the same from the latent up
BOUND = 3.0  # scaled latents beyond it hold nothing: the decoder squeezes them by a hyperbolic tangent
FIRST_INDEX = {"encoder": 0, "decoder": 1}  # number of the first convolution in TAESD's files: its squeeze is layer 0
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
        self.downsampling_factor = 2 ** (len(ENCODER_DEPTHS) - 1)

    def forward(self, frame: Tensor) -> Tensor:
        """Scaled latents (B, C, H/8, W/8) of frames (B, 3, H, W) in [-1, 1].

        Raises:
            ValueError: if height or width is no multiple of 8.
        """
        height, width = frame.shape[-2:]
        if height % self.downsampling_factor or width % self.downsampling_factor:
            raise UserError(
                f"frame of {height} x {width}: the tiny encoder wants multiples of {self.downsampling_factor} both "
                "ways; resize or crop it."
            )
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
            FileNotFoundError: with the command that fetches it.
            ValueError: if none was named, or it holds no decoder of this size.
        """
        if self.weights is None:
            raise UserError(f"the tiny decoder names no file: give it weights: <file>.\n{FETCH}")
        _fill(self, read_part(Path(self.weights), "decoder"), Path(self.weights))

    def forward(self, z: Tensor) -> Tensor:
        """Frames (B, 3, 8 h, 8 w), about [-1, 1], of scaled latents (B, C, h, w)."""
        return 2.0 * self.layers(BOUND * torch.tanh(z / BOUND)) - 1.0

    def decode(self, latent: Tensor) -> Tensor:
        """Frames (B, 3, 8 h, 8 w), about [-1, 1], of unscaled latents (B, C, h, w).

        Raises:
            ValueError: if the latents are another first stage's, told by their channels.
        """
        if latent.shape[1] != self.latent_channels:
            raise UserError(
                f"latents of {latent.shape[1]} channels: the tiny decoder takes {self.latent_channels}; leave it out, "
                "or name the one that was made for this model's first stage."
            )
        return self(latent * self.scale_factor)


class TinyAutoencoder(nn.Module):
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
        self.downsampling_factor = self.encoder.downsampling_factor

    def encode(self, frame: Tensor) -> DeltaDistribution:
        """Latent (B, C, H/8, W/8) of frames (B, 3, H, W) in [-1, 1]; without chance."""
        return DeltaDistribution(self.encoder(frame) / self.scale_factor)

    def decode(self, z: Tensor) -> Tensor:
        """Frames (B, 3, 8 h, 8 w), about [-1, 1], of unscaled latents (B, C, h, w)."""
        return self.decoder.decode(z)

    def forward(self, frame: Tensor) -> Tensor:
        """The frame encoded and decoded."""
        return self.decode(self.encode(frame).mode())


def from_published(tensors: Mapping[str, Tensor], part: Part) -> dict[str, Tensor]:
    """Tensors of one part under the names of TinyEncoder or TinyDecoder; empty where the part is not there.

    Args:
        tensors: by the names of diffusers (`decoder.layers.2.conv.0.weight`) or of TAESD (`3.conv.0.weight`).
        part: encoder or decoder.
    """
    numbered = {name: re.fullmatch(r"(\d+)\.(.+)", name) for name in tensors}
    if tensors and all(numbered.values()):
        first = FIRST_INDEX[part]
        if f"{first}.weight" not in tensors or min(int(found[1]) for found in numbered.values()) != first:
            return {}
        return {f"layers.{int(found[1]) - first}.{found[2]}": tensors[name] for name, found in numbered.items()}
    prefixed = {name: re.fullmatch(rf"{part}\.(layers\.\d+\..+)", name) for name in tensors}
    return {found[1]: tensors[name] for name, found in prefixed.items() if found}


def to_published(state: Mapping[str, Tensor], part: Part) -> dict[str, Tensor]:
    """State dict of a TinyEncoder or TinyDecoder under the names of TAESD's file of that part."""
    parted = {name: name.removeprefix("layers.").split(".", 1) for name in state}
    return {f"{int(index) + FIRST_INDEX[part]}.{rest}": state[name] for name, (index, rest) in parted.items()}


def read_part(path: Path, part: Part) -> dict[str, Tensor]:
    """Tensors of one part of a .safetensors file, named as here.

    Raises:
        FileNotFoundError: with the command that fetches it.
        ValueError: if the file is no .safetensors, or holds no such part.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no tiny {part} {path}.\n{FETCH}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is no .safetensors file, or not whole: {error}.\n{FETCH}") from error
    found = from_published(tensors, part)
    if not found:
        first = next(iter(sorted(tensors)), "nothing")
        raise UserError(f"{path} holds no tiny {part} under TAESD's or diffusers' names, but {first}.\n{FETCH}")
    return found


def _fill(network: nn.Module, found: Mapping[str, Tensor], path: Path) -> None:
    """Fill a network; every tensor must be there, with its shape, and no other."""
    misfit = describe_misfit(found, network.state_dict())
    if misfit:
        raise UserError(f"{path} does not fit the tiny autoencoder: {misfit}.\n{FETCH}")
    network.load_state_dict(found)


def _size_of(found: Mapping[str, Tensor], side: Literal[0, 1], name: str, path: Path) -> tuple[int, int]:
    """(width, latent channels) of a part, from the convolution next to the latent."""
    weight = found.get(name)
    if weight is None or weight.dim() != 4:
        raise UserError(f"{path} does not fit the tiny autoencoder: it has no convolution {name}.\n{FETCH}")
    return weight.shape[side], weight.shape[1 - side]


def load_tiny_decoder(path: Path, scale_factor: float) -> TinyDecoder:
    """The frozen decoder of a file, its channels and width read from it, on the CPU and in eval mode.

    Args:
        path: taesd_decoder.safetensors of TAESD, or the file of diffusers' AutoencoderTiny.
        scale_factor: what the diffusion model multiplies latents by; 0.18215 for SD v1.

    Raises:
        FileNotFoundError: with the command that fetches a file.
        ValueError: if the file holds no tiny decoder.
    """
    found = read_part(Path(path), "decoder")
    width, channels = _size_of(found, 0, "layers.0.weight", path)
    network = TinyDecoder(scale_factor, channels, width)
    _fill(network, found, path)
    return network.eval().requires_grad_(False)


def load_tiny_encoder(path: Path) -> TinyEncoder:
    """The same for the encoder: taesd_encoder.safetensors of TAESD, or the file of diffusers' AutoencoderTiny."""
    found = read_part(Path(path), "encoder")
    last = max((int(name.split(".")[1]) for name in found), default=0)
    width, channels = _size_of(found, 1, f"layers.{last}.weight", path)
    network = TinyEncoder(channels, width)
    _fill(network, found, path)
    return network.eval().requires_grad_(False)
