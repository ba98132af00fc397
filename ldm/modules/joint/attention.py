"""Layers of token streams that attend to each other: each has its own weights, all share one attention.

Source: MMDiT (arXiv 2403.03206), figure 2, for streams with joint attention; DiT (arXiv 2212.09748), section 3.2, for
adaLN-Zero. Layers of the attention are named as in the U-Net's, so that LoRA finds them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from ldm.modules.attention import CrossAttention
from ldm.modules.basic import timestep_embedding, zero_module

TICKS = 100.0  # of a second: times are told to the embedding in hundredths


class Keys(NamedTuple):
    """Tokens as others attend to them."""

    k: Tensor  # (B, heads, N, channels)
    v: Tensor  # (B, heads, N, channels)
    seen: Tensor  # (B, N) bool


def attend(queries: Tensor, keys: Sequence[Keys]) -> Tensor:
    """Queries (B, heads, N, c) to all keys that are seen, (B, N, heads c); at least one has to be."""
    k, v = (torch.cat([getattr(part, name) for part in keys], dim=2) for name in ("k", "v"))
    seen = torch.cat([part.seen for part in keys], dim=1)[:, None, None]
    return rearrange(functional.scaled_dot_product_attention(queries, k, v, attn_mask=seen), "b h n c -> b n (h c)")


class LevelEmbedding(nn.Module):
    """Noise level and time of a frame, or of a chunk of actions, as one vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.width = width

    def forward(self, level: Tensor, seconds: Tensor) -> Tensor:
        """Levels and seconds (B, T) => (B, T, width). A level of -1 means no noise."""
        parts = [timestep_embedding(rearrange(x, "b t -> (b t)"), self.width) for x in (level + 1, TICKS * seconds)]
        return self.layers(torch.cat(parts, dim=1).to(self.layers[0].weight.dtype)).unflatten(0, level.shape)


class StreamLayer(nn.Module):
    """Attention and feed-forward of one stream, each scaled, shifted and gated by level and time; gates start at zero.

    Args:
        width: of the stream's tokens.
        heads, head_channels: of the attention that the streams share.
    """

    def __init__(self, width: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attn1 = CrossAttention(width, width, heads, head_channels)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), zero_module(nn.Linear(width, 6 * width)))

    def project(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T n, c) of tokens x (B, T, n, width) told (B, T, width)."""
        shift, scale = self.modulation(told)[:, :, None].chunk(6, dim=-1)[:2]
        normed = self.norm(x) * (1 + scale) + shift
        return tuple(self._split(layer(normed).flatten(1, 2)) for layer in (self.attn1.to_q, *self._key_layers))

    def read_context(self, context: Tensor, seen: Tensor) -> Keys:
        """Keys of context tokens (B, N, width), which no layer changes."""
        return Keys(*(self._split(layer(self.norm(context))) for layer in self._key_layers), seen)

    @property
    def _key_layers(self) -> tuple[nn.Module, nn.Module]:
        return self.attn1.to_k, self.attn1.to_v

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h c) -> b h n c", h=self.heads)

    def add(self, x: Tensor, told: Tensor, attended: Tensor) -> Tensor:
        """Tokens (B, T, n, width) after what they attended to, (B, T n, heads c), and the feed-forward."""
        _, _, gate, *feed = self.modulation(told)[:, :, None].chunk(6, dim=-1)
        x = x + gate * self.attn1.to_out(attended).unflatten(1, x.shape[1:3])
        shift, scale, gate = feed
        return x + gate * self.ff(self.norm(x) * (1 + scale) + shift)


class CrossViewAdapter(nn.Module):
    """Lets the tokens of one view look at those of the others; the identity until it is trained.

    Source: zero-initialised additions, ControlNet (arXiv 2302.05543), section 3.1. One key of its own is always there,
    for views that are alone.

    Args:
        width: of the tokens.
        channels: of its attention, one head.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.exchange = CrossAttention(width, width, 1, channels)
        zero_module(self.exchange.to_out)
        self.nothing = nn.Parameter(torch.zeros(channels))

    def read(self, x: Tensor, seen: Tensor) -> Keys:
        """Keys of a view's tokens (B, T, n, width), seen (B, T n)."""
        normed = self.norm(x).flatten(1, 2)
        return Keys(self.exchange.to_k(normed)[:, None], self.exchange.to_v(normed)[:, None], seen)

    def forward(self, x: Tensor, others: Sequence[Keys]) -> Tensor:
        """Tokens (B, T, n, width) of a view, and the keys of the others."""
        nothing = self.nothing.expand(len(x), 1, 1, -1)
        always = Keys(nothing, nothing, torch.ones(len(x), 1, dtype=torch.bool, device=x.device))
        queries = self.exchange.to_q(self.norm(x).flatten(1, 2))[:, None]
        return x + self.exchange.to_out(attend(queries, [always, *others])).unflatten(1, x.shape[1:3])


class OutputAdapter(nn.Module):
    """A camera's own correction of its tokens, through a bottleneck; the identity until it is trained."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, channels), nn.GELU(), zero_module(nn.Linear(channels, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) => the same."""
        return x + self.layers(x)
