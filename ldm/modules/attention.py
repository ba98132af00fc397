"""Transformer blocks of the U-Net: attention among pixels, and from pixels to the words of the instruction.

Source: latent diffusion (arXiv 2112.10752), section 3.3 and appendix E.2.1; GEGLU: arXiv 2002.05202. Attribute names
are those of published checkpoints.
"""

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ldm.modules.basic import CODER_EPS, GroupNorm, run_checkpointed, zero_module

FEED_FORWARD_FACTOR = 4  # hidden width of the feed-forward over the block's

# A layer that sees the context => what it makes of it (B, L, channels).
ProjectedContext = dict[nn.Module, Tensor]


class CrossAttention(nn.Module):
    """Multi-head attention from x to a context, or within x.

    Args:
        query_dim: channels of x and of the output.
        context_dim: channels of the context; query_dim for attention within x.
        heads: number of heads.
        head_channels: channels of a head.
    """

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_channels: int):
        super().__init__()
        inner = heads * head_channels
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim))

    def forward(self, x: Tensor, context: Tensor | ProjectedContext | None = None) -> Tensor:
        """Attend from x (B, N, query_dim) to context (B, L, context_dim), to x itself if None."""
        if isinstance(context, dict):
            parts = (self.to_q(x), context[self.to_k], context[self.to_v])
        else:
            context = x if context is None else context
            parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        q, k, v = (rearrange(part, "b n (head d) -> b head n d", head=self.heads) for part in parts)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(rearrange(attended, "b head n d -> b n (head d)"))


class GEGLU(nn.Module):
    """Linear layer whose output is multiplied by the (exact) GELU of a second one."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.proj = nn.Linear(in_channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_channels) => (..., out_channels)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the width and back."""

    def __init__(self, channels: int):
        super().__init__()
        inner = FEED_FORWARD_FACTOR * channels
        # The identity stands where published checkpoints count a dropout: the last layer is number 2.
        self.net = nn.Sequential(GEGLU(channels, inner), nn.Identity(), nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) => the same."""
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each normalised first and added to its input."""

    def __init__(self, channels: int, heads: int, head_channels: int, context_dim: int, use_checkpoint: bool):
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads, head_channels)
        self.ff = FeedForward(channels)
        self.attn2 = CrossAttention(channels, context_dim, heads, head_channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor, context: Tensor | ProjectedContext) -> Tensor:
        """x (B, N, channels), context (B, L, context_dim) => (B, N, channels)."""
        return run_checkpointed(self._forward, x, context, enabled=self.use_checkpoint)

    def _forward(self, x: Tensor, context: Tensor | ProjectedContext) -> Tensor:
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x


def project_context(network: nn.Module, context: Tensor) -> ProjectedContext:
    """Keys and values of all cross-attentions of a network, which takes them in place of the context itself.

    A sampler asks the network many times about one context: so the projections are made once, not once a step.

    Args:
        network: holds BasicTransformerBlocks; the projections are stale when its weights change.
        context: (B, L, context_dim), cast to the weights' precision.
    """
    blocks = [module for module in network.modules() if isinstance(module, BasicTransformerBlock)]
    if not blocks:  # a network of another engine, which takes the context itself
        return {network: context}
    layers = [layer for block in blocks for layer in (block.attn2.to_k, block.attn2.to_v)]
    return {layer: layer(context.to(layer.weight.dtype)) for layer in layers}


class SpatialTransformer(nn.Module):
    """Transformer over the pixels of a feature map, conditioned on a context; the identity at initialisation.

    Args:
        channels: of the feature map.
        heads, head_channels: their product is `channels`.
        depth: number of blocks.
        context_dim: channels of the context.
        use_linear: entry and exit are linear layers (SD v2) instead of 1x1 convolutions (SD v1).
        use_checkpoint: compute activations again in the backward pass.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        head_channels: int,
        depth: int,
        context_dim: int,
        *,
        use_linear: bool,
        use_checkpoint: bool,
    ):
        super().__init__()
        inner = heads * head_channels
        self.use_linear = use_linear
        self.norm = GroupNorm(channels, CODER_EPS)
        self.proj_in = nn.Linear(channels, inner) if use_linear else nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(inner, heads, head_channels, context_dim, use_checkpoint) for _ in range(depth)
        )
        self.proj_out = zero_module(nn.Linear(inner, channels) if use_linear else nn.Conv2d(inner, channels, 1))

    def forward(self, x: Tensor, context: Tensor | ProjectedContext) -> Tensor:
        """x (B, C, H, W), context (B, L, context_dim) => (B, C, H, W)."""
        tokens = self._enter(self.norm(x))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return self._leave(tokens, x) + x

    def _enter(self, x: Tensor) -> Tensor:
        if self.use_linear:
            return self.proj_in(rearrange(x, "b c h w -> b (h w) c"))
        return rearrange(self.proj_in(x), "b c h w -> b (h w) c")

    def _leave(self, tokens: Tensor, x: Tensor) -> Tensor:
        tokens = self.proj_out(tokens) if self.use_linear else tokens
        h = rearrange(tokens, "b (h w) c -> b c h w", h=x.shape[2], w=x.shape[3])
        if x.is_contiguous():  # a strided view makes every later convolution copy its weights to the view's layout
            h = h.contiguous()
        return h if self.use_linear else self.proj_out(h)
