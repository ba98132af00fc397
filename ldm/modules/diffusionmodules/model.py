"""Encoder and decoder of the first stage: frames to latents and back.

Source: VQGAN (arXiv 2012.09841), table 7, as used by latent diffusion (arXiv 2112.10752). Attribute names are those of
published checkpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from commands.errors import UserError
from ldm.modules.basic import CODER_EPS, GroupNorm
from ldm.util import nearest_name


@dataclass(frozen=True)
class CoderConfig:
    """The shape of an encoder and its decoder: `ddconfig` in published configs."""

    ch: int  # channels at full resolution, a multiple of 32
    ch_mult: Sequence[int]  # channels of each level over ch; every level but the last halves the resolution
    num_res_blocks: int
    z_channels: int
    in_channels: int = 3
    out_ch: int = 3
    double_z: bool = True  # the encoder gives mean and log-variance
    resolution: int = 256  # of training frames; decides only which levels attn_resolutions names
    attn_resolutions: Sequence[int] = ()  # heights at which levels attend, counted from `resolution`
    dropout: float = 0.0

    @staticmethod
    def read(ddconfig: Mapping[str, Any]) -> "CoderConfig":
        """The config of a mapping; a name that it does not know or lacks is said."""
        names = [field.name for field in fields(CoderConfig)]
        for name in ddconfig:
            if name not in names:
                hint = nearest_name(str(name), names)
                raise UserError(f"ddconfig has no entry '{name}'{hint} It takes: {', '.join(names)}.")
        absent = [f.name for f in fields(CoderConfig) if f.default is MISSING and f.name not in ddconfig]
        if absent:
            raise UserError(f"ddconfig needs {', '.join(absent)}, not given.")
        return CoderConfig(**{str(name): value for name, value in ddconfig.items()})

    @property
    def widths(self) -> list[int]:
        """Channels of each level, from full resolution down."""
        return [self.ch * mult for mult in self.ch_mult]

    @property
    def downsampling_factor(self) -> int:
        """Height of a frame over height of its latent."""
        return 2 ** (len(self.ch_mult) - 1)

    def attends(self, level: int) -> bool:
        """Whether the residual blocks of a level are followed by attention."""
        return self.resolution // 2**level in self.attn_resolutions


class Upsample(nn.Module):
    """Twice the height and width: nearest neighbour, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) => (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Downsample(nn.Module):
    """Half the height and width, by a convolution of stride 2 that pads below and on the right only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) => (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class ResnetBlock(nn.Module):
    """Two convolutions, each after normalisation and SiLU, added to the (projected) input."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float):
        super().__init__()
        self.norm1 = GroupNorm(in_channels, CODER_EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = GroupNorm(out_channels, CODER_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) => (B, out_channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Single-head attention among all pixels, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = GroupNorm(channels, CODER_EPS)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) => the same."""
        normed = self.norm(x)
        q, k, v = (rearrange(layer(normed), "b c h w -> b 1 (h w) c") for layer in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v)
        h, w = x.shape[-2:]
        return x + self.proj_out(rearrange(attended, "b 1 (h w) c -> b c h w", h=h, w=w))


def _make_level(config: CoderConfig, level: int, in_channels: int, num_blocks: int) -> nn.Module:
    """A level's residual blocks `block` and attentions `attn`, one a block or none."""
    width = config.widths[level]
    made = nn.Module()
    made.block = nn.ModuleList(
        ResnetBlock(in_channels if i == 0 else width, width, config.dropout) for i in range(num_blocks)
    )
    made.attn = nn.ModuleList(AttnBlock(width) for _ in range(num_blocks if config.attends(level) else 0))
    return made


def _run_level(level: nn.Module, x: Tensor) -> Tensor:
    for i, block in enumerate(level.block):
        x = block(x)
        if len(level.attn):
            x = level.attn[i](x)
    return x


def _make_middle(channels: int, dropout: float) -> nn.Module:
    middle = nn.Module()
    middle.block_1 = ResnetBlock(channels, channels, dropout)
    middle.attn_1 = AttnBlock(channels)
    middle.block_2 = ResnetBlock(channels, channels, dropout)
    return middle


def _run_middle(middle: nn.Module, x: Tensor) -> Tensor:
    return middle.block_2(middle.attn_1(middle.block_1(x)))


class Encoder(nn.Module):
    """Frame to latent, or to its mean and log-variance.

    Args:
        config: shape; `out_ch` is the decoder's.
    """

    def __init__(self, config: CoderConfig):
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            made = _make_level(config, level, widths[level - 1] if level else config.ch, config.num_res_blocks)
            if level + 1 < len(widths):
                made.downsample = Downsample(width)
            self.down.append(made)
        self.mid = _make_middle(widths[-1], config.dropout)
        self.norm_out = GroupNorm(widths[-1], CODER_EPS)
        self.conv_out = nn.Conv2d(widths[-1], (1 + config.double_z) * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) => (B, z_channels, H/f, W/f), 2 z_channels with double_z."""
        h = self.conv_in(x)
        for level in self.down:
            h = _run_level(level, h)
            if hasattr(level, "downsample"):
                h = level.downsample(h)
        return self.conv_out(F.silu(self.norm_out(_run_middle(self.mid, h))))


class Decoder(nn.Module):
    """Latent to frame.

    Args:
        config: shape; `in_channels` and `double_z` are the encoder's.
    """

    def __init__(self, config: CoderConfig):
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = _make_middle(widths[-1], config.dropout)
        self.up = nn.ModuleList()  # level 0, at full resolution, is run last
        for level, width in enumerate(widths):
            above = widths[min(level + 1, len(widths) - 1)]
            made = _make_level(config, level, above, config.num_res_blocks + 1)
            if level > 0:
                made.upsample = Upsample(width)
            self.up.append(made)
        self.norm_out = GroupNorm(widths[0], CODER_EPS)
        self.conv_out = nn.Conv2d(widths[0], config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, z_channels, h, w) => (B, out_ch, f h, f w)."""
        h = _run_middle(self.mid, self.conv_in(z))
        for level in reversed(self.up):
            h = _run_level(level, h)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        return self.conv_out(F.silu(self.norm_out(h)))
