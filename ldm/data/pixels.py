"""uint8 pixels <-> [-1, 1] <-> [0, 1]: the only place that converts.

uint8 v stands for the real number v / 255 in [0, 1] and 2 v / 255 - 1 in [-1, 1]. Going back rounds to the
nearest of the 256 values and clamps what lies outside, so that the round trip is exact.
"""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def to_signed(pixels: Tensor) -> Tensor:
    """uint8 pixels of any shape => float32 in [-1, 1]."""
    if pixels.dtype != torch.uint8:
        raise ValueError(f"wanted uint8 pixels, got {pixels.dtype}; convert floats with to_uint8 first.")
    return pixels.float() / 127.5 - 1.0


def to_uint8(signed: Tensor) -> Tensor:
    """Float values in [-1, 1] of any shape => uint8, clamped and rounded to nearest."""
    return ((signed.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)


def signed_to_unit(signed: Tensor) -> Tensor:
    """[-1, 1] => [0, 1], clamped."""
    return (signed.clamp(-1.0, 1.0) + 1.0) / 2.0


def unit_to_signed(unit: Tensor) -> Tensor:
    """[0, 1] => [-1, 1]."""
    return unit * 2.0 - 1.0


def array_to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) array, as pictures come from files => uint8 (3, H, W) tensor."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"wanted a uint8 (H, W, 3) RGB picture, got {pixels.dtype} {pixels.shape}.")
    return torch.from_numpy(rearrange(pixels, "h w c -> c h w").copy())


def tensor_to_array(pixels: Tensor) -> np.ndarray:
    """uint8 (3, H, W) tensor => uint8 (H, W, 3) array, as picture writers take it."""
    return rearrange(pixels, "c h w -> h w c").cpu().contiguous().numpy()
