"""The denoising U-Net of Stable Diffusion v1 and v2.

Source: ADM (arXiv 2105.05233), appendix A, with the transformers of latent diffusion (arXiv 2112.10752). Attribute
names are those of published checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from commands.errors import UserError
from ldm.modules.attention import ProjectedContext, SpatialTransformer
from ldm.modules.basic import RESIDUAL_EPS, GroupNorm, run_checkpointed, timestep_embedding, zero_module
from ldm.modules.diffusionmodules.model import Upsample

TIME_FACTOR = 4  # width of the embedded timestep over model_channels


class Downsample(nn.Module):
    """Half the height and width, by a convolution of stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) => (B, C, H/2, W/2)."""
        return self.op(x)


class ResBlock(nn.Module):
    """Two convolutions with the timestep added between; the skip connection alone at initialisation."""

    def __init__(self, channels: int, emb_channels: int, out_channels: int, dropout: float, use_checkpoint: bool):
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.in_layers = nn.Sequential(
            GroupNorm(channels, RESIDUAL_EPS), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            GroupNorm(out_channels, RESIDUAL_EPS),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_module(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, channels, H, W), emb (B, emb_channels) => (B, out_channels, H, W)."""
        return run_checkpointed(self._forward, x, emb, enabled=self.use_checkpoint)

    def _forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class TimestepEmbedSequential(nn.Sequential):
    """Layers in sequence, each given what it takes beside the feature map."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | ProjectedContext) -> Tensor:
        """Feature map x (B, C, H, W), embedded timestep (B, E), context (B, L, D)."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    """Estimates the noise in a latent from the latent, the timestep and the instruction.

    Args:
        in_channels: of the input; 8 where the source frame's latent is concatenated to the noisy one.
        out_channels: of the output.
        model_channels: channels at full resolution, a multiple of 32.
        num_res_blocks: residual blocks of a level.
        attention_resolutions: downsampling factors (1, 2, 4, ...) at which transformers stand.
        channel_mult: channels of each level over model_channels; every level halves the resolution.
        num_heads: heads of each attention (SD v1), or -1.
        num_head_channels: channels of each head (SD v2), or -1; exactly one of the two is given.
        context_dim: channels of the instruction's tokens.
        transformer_depth: blocks of each transformer.
        dropout: within residual blocks.
        use_linear_in_transformer: linear layers at entry and exit of transformers (SD v2).
        use_checkpoint: compute activations again in the backward pass: less memory, about a third more time.
        adm_in_channels: numbers of a vector about each sample that is embedded beside the timestep (SDXL's name); None
            takes no vector. Its last layer is zero at first: weights trained without it give what they gave.
    """

    def __init__(  # noqa: PLR0913 - the published config's names, one for one
        self,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        channel_mult: Sequence[int],
        context_dim: int,
        num_heads: int = -1,
        num_head_channels: int = -1,
        transformer_depth: int = 1,
        dropout: float = 0.0,
        use_linear_in_transformer: bool = False,
        use_checkpoint: bool = False,
        *,
        adm_in_channels: int | None = None,
    ):
        super().__init__()
        if (num_heads == -1) == (num_head_channels == -1):
            raise UserError(
                f"num_heads {num_heads} and num_head_channels {num_head_channels}: give exactly one of them, "
                "num_heads (8 in SD v1) or num_head_channels (64 in SD v2)."
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.adm_in_channels = adm_in_channels
        self.model_channels = model_channels
        self.downsampling_factor = 2 ** (len(channel_mult) - 1)
        self.emb_channels = TIME_FACTOR * model_channels
        self.time_embed = _make_embedding(model_channels, self.emb_channels)
        if adm_in_channels is not None:
            self.label_emb = _make_embedding(adm_in_channels, self.emb_channels)
            zero_module(self.label_emb[2])
        blocks = _BlockMaker(
            emb_channels=self.emb_channels,
            dropout=dropout,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            context_dim=context_dim,
            transformer_depth=transformer_depth,
            use_linear=use_linear_in_transformer,
            use_checkpoint=use_checkpoint,
        )
        attended = [2**level in set(attention_resolutions) for level in range(len(channel_mult))]
        widths = [mult * model_channels for mult in channel_mult]
        self.input_blocks, skips = _make_input_blocks(
            blocks, in_channels, model_channels, widths, num_res_blocks, attended
        )
        middle = widths[-1]
        self.middle_block = TimestepEmbedSequential(
            blocks.residual(middle, middle), blocks.transformer(middle), blocks.residual(middle, middle)
        )
        self.output_blocks = _make_output_blocks(blocks, skips, widths, num_res_blocks, attended)
        self.out = nn.Sequential(
            GroupNorm(widths[0], RESIDUAL_EPS),
            nn.SiLU(),
            zero_module(nn.Conv2d(widths[0], out_channels, 3, padding=1)),
        )

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor | ProjectedContext, y: Tensor | None = None
    ) -> Tensor:
        """Output of the network, in the dtype of x.

        Args:
            x: (B, in_channels, H, W); H and W multiples of `downsampling_factor`.
            timesteps: (B,), whole or fractional.
            context: (B, L, context_dim) embedded instruction, or what `project_context` made of it.
            y: (B, adm_in_channels) vector about each sample, for a network that takes one.

        Returns:
            (B, out_channels, H, W).
        """
        self._check(x)
        dtype = self.time_embed[0].weight.dtype
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(dtype))
        if y is not None:
            emb = emb + self.label_emb(y.to(dtype))
        h, context = x.to(dtype), context if isinstance(context, dict) else context.to(dtype)
        skips = []
        for block in self.input_blocks:
            h = block(h, emb, context)
            skips.append(h)
        h = self.middle_block(h, emb, context)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, context)
        return self.out(h).to(x.dtype)

    def _check(self, x: Tensor, channels: int | None = None) -> None:
        channels = channels or self.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise UserError(
                f"the U-Net takes (B, {channels}, H, W), got {tuple(x.shape)}; "
                "the channels are the noisy latent's and, where it is concatenated, the source frame's."
            )
        height, width = x.shape[-2:]
        if height % self.downsampling_factor or width % self.downsampling_factor:
            raise UserError(
                f"latent of {height} x {width}: the U-Net halves it {len(bin(self.downsampling_factor)) - 3} times, "
                f"so both must be multiples of {self.downsampling_factor}."
            )


def _make_embedding(width: int, emb_channels: int) -> nn.Sequential:
    """Two layers from numbers (B, width) to what residual blocks add."""
    return nn.Sequential(nn.Linear(width, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels))


@dataclass(frozen=True)
class _BlockMaker:
    """Makes the blocks of one U-Net: what all of them share."""

    emb_channels: int
    dropout: float
    num_heads: int
    num_head_channels: int
    context_dim: int
    transformer_depth: int
    use_linear: bool
    use_checkpoint: bool

    def residual(self, channels: int, out_channels: int) -> ResBlock:
        return ResBlock(channels, self.emb_channels, out_channels, self.dropout, self.use_checkpoint)

    def transformer(self, channels: int) -> SpatialTransformer:
        heads = self.num_heads if self.num_heads != -1 else channels // self.num_head_channels
        if heads < 1 or channels % heads or self.num_head_channels not in (-1, channels // heads):
            raise UserError(
                f"{channels} channels do not divide into "
                + (f"{heads} heads." if self.num_head_channels == -1 else f"heads of {self.num_head_channels}.")
            )
        return SpatialTransformer(
            channels,
            heads,
            channels // heads,
            self.transformer_depth,
            self.context_dim,
            use_linear=self.use_linear,
            use_checkpoint=self.use_checkpoint,
        )


def _make_input_blocks(
    blocks: _BlockMaker,
    in_channels: int,
    model_channels: int,
    widths: Sequence[int],
    num_res_blocks: int,
    attended: Sequence[bool],
) -> tuple[nn.ModuleList, list[int]]:
    """The descending half, and the channels of each of its outputs."""
    made = [TimestepEmbedSequential(nn.Conv2d(in_channels, model_channels, 3, padding=1))]
    skips = [model_channels]
    for level, width in enumerate(widths):
        for _ in range(num_res_blocks):
            layers: list[nn.Module] = [blocks.residual(skips[-1], width)]
            if attended[level]:
                layers.append(blocks.transformer(width))
            made.append(TimestepEmbedSequential(*layers))
            skips.append(width)
        if level + 1 < len(widths):
            made.append(TimestepEmbedSequential(Downsample(width)))
            skips.append(width)
    return nn.ModuleList(made), skips


def _make_output_blocks(
    blocks: _BlockMaker,
    skips: Sequence[int],
    widths: Sequence[int],
    num_res_blocks: int,
    attended: Sequence[bool],
) -> nn.ModuleList:
    """The ascending half; block i takes its predecessor's output and the i-th last of `skips`."""
    waiting = list(skips)
    channels = widths[-1]
    made = []
    for level in reversed(range(len(widths))):
        for i in range(num_res_blocks + 1):
            layers: list[nn.Module] = [blocks.residual(channels + waiting.pop(), widths[level])]
            channels = widths[level]
            if attended[level]:
                layers.append(blocks.transformer(channels))
            if level > 0 and i == num_res_blocks:
                layers.append(Upsample(channels))
            made.append(TimestepEmbedSequential(*layers))
    return nn.ModuleList(made)
