"""Bricks that every network shares: normalisation, zeroed layers, the sinusoidal timestep embedding.

Source: latent-diffusion's ldm/modules/diffusionmodules/util.py and "Attention Is All You Need" (arXiv 1706.03762),
section 3.5.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from commands.errors import UserError

NORM_GROUPS = 32  # of every group normalisation in SD v1 and v2
RESIDUAL_EPS = 1e-5  # group normalisation of the U-Net's residual blocks
CODER_EPS = 1e-6  # group normalisation of transformers' entries and of the autoencoder
MAX_PERIOD = 10_000.0  # longest wavelength of the timestep embedding, in steps / (2 pi)


class GroupNorm(nn.GroupNorm):
    """Group normalisation whose statistics are float32 at least, whatever the precision of input and weights.

    The output has the input's dtype, so that half networks, half inputs to full networks (autocast) and full
    networks all work.
    """

    def __init__(self, channels: int, eps: float):
        if channels % NORM_GROUPS:
            raise UserError(f"{channels} channels do not divide into {NORM_GROUPS} normalisation groups.")
        super().__init__(NORM_GROUPS, channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x (B, C, ...), same shape and dtype."""
        wide = torch.promote_types(x.dtype, torch.float32)
        y = F.group_norm(x.to(wide), self.num_groups, self.weight.to(wide), self.bias.to(wide), self.eps)
        return y.to(x.dtype)


def zero_module(module: nn.Module) -> nn.Module:
    """The same module with all parameters zero: a residual branch that starts as the identity."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Sinusoids of (possibly fractional) timesteps, cosines first.

    Args:
        timesteps: (B,).
        width: number of channels, even.

    Returns:
        (B, width) float32: cos(t w_i) then sin(t w_i), w_i = MAX_PERIOD^(-i / (width / 2)).
    """
    if width % 2:
        raise ValueError(f"timestep embedding of odd width {width}: cosines and sines need an even one.")
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def run_checkpointed(function: Callable[..., Tensor], *inputs: Any, enabled: bool) -> Tensor:
    """function(*inputs); if enabled, its activations are not stored but computed again in the backward pass.

    Non-reentrant, so that frozen parameters, inputs without gradient and autocast work.
    """
    if enabled and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def hash_weights(*networks: nn.Module) -> str:
    """SHA-256 of all tensors of networks: names, shapes, types and values."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in sorted(network.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
