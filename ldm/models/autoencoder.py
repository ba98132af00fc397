"""First stages: frames to latents and back. Learned (KL, VQ) or lossless (pixel-unshuffle).

Source: latent diffusion (arXiv 2112.10752), section 3.1; VQGAN (arXiv 2012.09841). Each has encode(frame) ->
distribution, decode(z) -> frame, latent_channels, downsampling_factor.
"""

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from commands.errors import UserError
from ldm.modules.diffusionmodules.model import CoderConfig, Decoder, Encoder
from ldm.modules.distributions.distributions import DeltaDistribution, DiagonalGaussianDistribution


class FirstStage(nn.Module):
    """What all first stages share; each has `encode` and `decode`."""

    latent_channels: int
    downsampling_factor: int  # height of a frame over height of its latent

    def check_size(self, frame: Tensor) -> None:
        """Refuse frames (..., H, W) that do not divide into latents.

        Raises:
            UserError: if height or width is no multiple of the factor.
        """
        (height, width), factor = frame.shape[-2:], self.downsampling_factor
        if height % factor or width % factor:
            raise UserError(f"frame of {height} x {width}: the first stage wants multiples of {factor} both ways.")

    def forward(self, frame: Tensor) -> Tensor:
        """Reconstruction of frames (B, 3, H, W): the mode of the latent, decoded."""
        return self.decode(self.encode(frame).mode())


class AutoencoderKL(FirstStage):
    """Autoencoder whose latents are normally distributed: Stable Diffusion's first stage.

    Args:
        ddconfig: shape of encoder and decoder; see CoderConfig.
        embed_dim: channels of the latent.
    """

    def __init__(self, ddconfig: Mapping[str, Any], embed_dim: int):
        super().__init__()
        config = CoderConfig.read(ddconfig)
        if not config.double_z:
            raise UserError("AutoencoderKL needs mean and log-variance: set double_z: true in ddconfig.")
        self.latent_channels = embed_dim
        self.downsampling_factor = config.downsampling_factor
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.z_channels, 2 * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, config.z_channels, 1)

    def encode(self, frame: Tensor) -> DiagonalGaussianDistribution:
        """Posterior of the latent (B, embed_dim, H/f, W/f) of frames (B, 3, H, W) in [-1, 1]; not scaled."""
        self.check_size(frame)
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(frame)))

    def decode(self, z: Tensor) -> Tensor:
        """Frames (B, 3, f h, f w), about [-1, 1], of unscaled latents (B, embed_dim, h, w)."""
        return self.decoder(self.post_quant_conv(z))


class VectorQuantizer(nn.Module):
    """Replaces each latent vector by the nearest of a codebook.

    Args:
        n_embed: vectors in the codebook.
        embed_dim: their length.
    """

    def __init__(self, n_embed: int, embed_dim: int):
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / n_embed, 1.0 / n_embed)

    def indices(self, z: Tensor) -> Tensor:
        """(B, h, w) number of the vector nearest to each of z (B, embed_dim, h, w)."""
        flat = rearrange(z, "b c h w -> (b h w) c")
        book = self.embedding.weight.to(flat.dtype)
        # |z - e|^2 without |z|^2, which is the same for every e.
        distance = (book**2).sum(dim=1) - 2.0 * flat @ book.T
        return rearrange(distance.argmin(dim=1), "(b h w) -> b h w", h=z.shape[2], w=z.shape[3])

    def forward(self, z: Tensor) -> Tensor:
        """Quantised z (B, embed_dim, h, w); its gradient passes to z as if nothing had happened."""
        quantized = rearrange(self.embedding(self.indices(z)), "b h w c -> b c h w").to(z.dtype)
        return z + (quantized - z).detach()


class VQModel(FirstStage):
    """Autoencoder with a codebook: a first stage of taming-transformers or latent-diffusion.

    The latent that diffusion sees is the one before quantisation; decoding quantises first (VQModelInterface of
    latent-diffusion).

    Args:
        ddconfig: shape of encoder and decoder; see CoderConfig.
        n_embed: vectors in the codebook.
        embed_dim: channels of the latent.
    """

    def __init__(self, ddconfig: Mapping[str, Any], n_embed: int, embed_dim: int):
        super().__init__()
        config = CoderConfig.read(ddconfig)
        if config.double_z:
            raise UserError("VQModel has one latent, not mean and log-variance: set double_z: false in ddconfig.")
        self.latent_channels = embed_dim
        self.downsampling_factor = config.downsampling_factor
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = VectorQuantizer(n_embed, embed_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, config.z_channels, 1)

    def encode(self, frame: Tensor) -> DeltaDistribution:
        """Latent (B, embed_dim, H/f, W/f) before quantisation, of frames (B, 3, H, W) in [-1, 1]."""
        self.check_size(frame)
        return DeltaDistribution(self.quant_conv(self.encoder(frame)))

    def decode(self, z: Tensor) -> Tensor:
        """Frames (B, 3, f h, f w), about [-1, 1], of latents (B, embed_dim, h, w), quantised first."""
        return self.decoder(self.post_quant_conv(self.quantize(z)))


class PatchFirstStage(FirstStage):
    """Lossless first stage without parameters: every patch of pixels becomes one latent vector.

    Args:
        patch_size: p; the latent of an RGB frame has 3 p^2 channels at 1/p of the resolution.
    """

    def __init__(self, patch_size: int):
        super().__init__()
        if patch_size < 1:
            raise UserError(f"patch_size {patch_size}: wanted 1 or more.")
        self.downsampling_factor = patch_size
        self.latent_channels = 3 * patch_size**2

    def encode(self, frame: Tensor) -> DeltaDistribution:
        """Latent (B, 3 p^2, H/p, W/p) of frames (B, 3, H, W)."""
        self.check_size(frame)
        return DeltaDistribution(torch.pixel_unshuffle(frame, self.downsampling_factor))

    def decode(self, z: Tensor) -> Tensor:
        """Frames (B, 3, p h, p w) of latents (B, 3 p^2, h, w)."""
        return torch.pixel_shuffle(z, self.downsampling_factor)
