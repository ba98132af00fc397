"""What a first stage says about a frame: a normal distribution over latents, or one latent for certain.

Source: VAE (arXiv 1312.6114), appendix B; latent-diffusion for the clamp.
"""

import torch
from einops import reduce
from torch import Tensor

LOGVAR_RANGE = (-30.0, 20.0)  # keeps the variance within float32; autoencoder.py of latent-diffusion


class DiagonalGaussianDistribution:
    """Normal distribution with independent components.

    Args:
        parameters: (B, 2C, H, W), C means then C logarithms of variances.
    """

    def __init__(self, parameters: Tensor):
        self.mean, logvar = parameters.chunk(2, dim=1)  # (B, C, H, W) each
        self.logvar = logvar.clamp(*LOGVAR_RANGE)
        self.std = torch.exp(0.5 * self.logvar)  # (B, C, H, W) standard deviation

    @classmethod
    def of(cls, mean: Tensor, std: Tensor) -> "DiagonalGaussianDistribution":
        """The distribution of stored moments, both (B, C, H, W); its draws equal those of the original's."""
        made = cls(torch.cat([mean, 2.0 * std.log()], dim=1))
        made.mean, made.std = mean, std
        return made

    def sample(self, generators: list[torch.Generator] | None = None) -> Tensor:
        """One draw (B, C, H, W); with generators, sample i depends on generator i alone."""
        if generators is None:
            return self.mean + self.std * torch.randn_like(self.mean)
        if len(generators) != len(self.mean):
            raise ValueError(f"{len(generators)} generators for {len(self.mean)} samples: pass one a sample.")
        draws = [torch.randn(self.mean.shape[1:], generator=g, device=g.device) for g in generators]
        return self.mean + self.std * torch.stack(draws).to(self.mean)

    def mode(self) -> Tensor:
        """Most probable latent (B, C, H, W)."""
        return self.mean

    def kl(self) -> Tensor:
        """(B,) divergence from the unit normal distribution, in nats."""
        return reduce(0.5 * (self.mean**2 + self.logvar.exp() - 1.0 - self.logvar), "b c h w -> b", "sum")


class DeltaDistribution:
    """A latent (B, C, H, W) known for certain, as lossless and quantising first stages give it."""

    def __init__(self, value: Tensor):
        self.value = value
        self.mean, self.std = value, torch.zeros_like(value)

    def sample(self, generators: list[torch.Generator] | None = None) -> Tensor:
        """The latent; nothing is drawn."""
        return self.value

    def mode(self) -> Tensor:
        """The latent."""
        return self.value
