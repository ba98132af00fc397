"""Frames to tokens and tokens to frames: patches of a first stage's latents, with what an encoder of pixels sees there.

Source: patches as of ViT; the mask that copies what stands still, ldm.modules.diffusionmodules.blending.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from commands.errors import UserError
from ldm.modules.diffusionmodules.blending import SCENE_GAIN, spread_mask
from ldm.modules.encoders.modules import EMBEDDING_STD
from ldm.modules.policy.networks import ResidualBlock, make_encoders

STILL = -2.0  # logit of a mask to begin with: most of a frame does not change
ENCODER_FACTOR = 4  # height of a frame over height of a KeypointEncoder's map


@dataclass(frozen=True)
class LatentGrid:
    """How a frame lies in tokens.

    Args:
        channels: C of the first stage's latent.
        factor: height of a frame over height of its latent.
        patch: latent places of a token's side.
    """

    channels: int
    factor: int
    patch: int

    def __post_init__(self) -> None:
        if self.factor % ENCODER_FACTOR:
            raise UserError(f"latent.factor: {self.factor}; wanted a multiple of {ENCODER_FACTOR}.")

    @property
    def numbers(self) -> int:
        """Latent numbers of a token."""
        return self.channels * self.patch**2

    @property
    def token_side(self) -> int:
        """Pixels of a token's side."""
        return self.factor * self.patch

    def tokens(self, side: int) -> int:
        """Tokens along the side of a picture.

        Raises:
            UserError: if they do not fill it.
        """
        if side % self.token_side:
            raise UserError(f"cameras: pictures of {side} pixels; wanted a multiple of {self.token_side}, a token's.")
        return side // self.token_side

    def cut(self, latent: Tensor) -> Tensor:
        """Latents (B, T, C, h, w) => (B, T, n, numbers)."""
        pattern = "b t c (h p) (w q) -> b t (h w) (c p q)"
        return rearrange(latent, pattern, p=self.patch, q=self.patch)

    def spread(self, mask: Tensor, latent: Tensor) -> Tensor:
        """A mask of tokens (B, T, n) as one (B, T, 1, h, w) of the places of latents (B, T, C, h, w)."""
        side = latent.shape[-1] // self.patch
        pattern = "b t (h w) -> b t 1 (h p) (w q)"
        return repeat(mask, pattern, h=side, p=self.patch, q=self.patch)


class FrameTokens(nn.Module):
    """Frames of several cameras as tokens.

    Args:
        grid: of the latents.
        width: of a token.
        encoders: name => parameters of a KeypointEncoder.
        cameras: camera => name of its encoder.
        sides: camera => pixels of its pictures.
    """

    def __init__(
        self,
        grid: LatentGrid,
        width: int,
        encoders: Mapping[str, Mapping],
        cameras: Mapping[str, str],
        sides: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.grid, self.cameras = grid, dict(cameras)
        self.encoders = make_encoders(encoders)
        stride = grid.token_side // ENCODER_FACTOR
        self.pool = nn.ModuleDict(
            {name: nn.Conv2d(params["channels"], width, stride, stride) for name, params in encoders.items()}
        )
        self.patch = nn.Linear(grid.numbers, width)
        self.place = nn.ParameterDict(
            {camera: EMBEDDING_STD * torch.randn(grid.tokens(sides[camera]) ** 2, width) for camera in self.cameras}
        )
        self.given = nn.Parameter(EMBEDDING_STD * torch.randn(width))

    def look(self, camera: str, frames: Tensor) -> Tensor:
        """Feature maps (B, T, channels, S / 4, S / 4) of frames (B, T, 3, S, S)."""
        return self.encoders[self.cameras[camera]].look(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def shown(self, camera: str, latents: Tensor, features: Tensor) -> Tensor:
        """Tokens (B, T, n, width) of frames that were seen."""
        pooled = self.pool[self.cameras[camera]](features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return self._placed(camera, latents) + rearrange(pooled, "b t d h w -> b t (h w) d") + self.given

    def asked(self, camera: str, content: Tensor, given: Tensor) -> Tensor:
        """Tokens of frames to come, of noisy latents (B, T, C, h, w), and which of them (B, T, n) are told clean."""
        return self._placed(camera, content) + given[..., None] * self.given

    def _placed(self, camera: str, latents: Tensor) -> Tensor:
        return self.patch(self.grid.cut(latents)) + self.place[camera]


class VideoHead(nn.Module):
    """Tokens of a frame to come => its latent, or, with masks, the present latent where it does not change.

    Args:
        grid: of the latents.
        width: of a token.
        channels: of the map between, a multiple of 8.
        encoders: name => channels of the encoder's map.
        cameras: camera => name of its encoder.
        sides: camera => pixels of its pictures.
        masks: M; mask m acts on the latent channels m, m + M ...; 0: no masks, the head's output is the network's.
    """

    def __init__(
        self,
        grid: LatentGrid,
        width: int,
        channels: int,
        encoders: Mapping[str, int],
        cameras: Mapping[str, str],
        sides: Mapping[str, int],
        masks: int,
    ) -> None:
        super().__init__()
        self.grid, self.masks, self.cameras = grid, masks, dict(cameras)
        if masks and grid.channels % masks:
            raise UserError(f"decoder.masks: {masks}; wanted a divisor of the latent's {grid.channels} channels, or 0.")
        self.norm = nn.LayerNorm(width)
        self.spread = nn.Linear(width, channels * grid.patch**2)
        stride = grid.factor // ENCODER_FACTOR
        self.skip = nn.ModuleDict(
            {name: nn.Conv2d(found, channels, stride, stride) for name, found in encoders.items()}
        )
        self.block = ResidualBlock(channels)
        self.out = nn.Conv2d(channels, grid.channels + masks, 1)
        if masks:
            nn.init.constant_(self.out.bias[-masks:], STILL)
        latent = {camera: side // grid.factor for camera, side in sides.items() if camera in self.cameras}
        self.scene = nn.ParameterDict(
            {camera: torch.zeros(grid.channels, side, side) for camera, side in latent.items()} if masks else {}
        )

    def remember(self, camera: str, features: Tensor) -> Tensor:
        """What of the present feature map (B, channels, S / 4, S / 4) the frames to come are drawn on."""
        return self.skip[self.cameras[camera]](features)

    def forward(self, camera: str, x: Tensor, remembered: Tensor, source: Tensor) -> Tensor:
        """Latents (B, T, C, h, w) of tokens (B, T, n, width), on `remembered`; source: present latent (B, C, h, w)."""
        num, side, p = x.shape[1], source.shape[-1] // self.grid.patch, self.grid.patch
        maps = rearrange(
            self.spread(self.norm(x)), "b t (h w) (c p q) -> (b t) c (h p) (w q)", h=side, p=p, q=p
        ) + remembered.repeat_interleave(num, dim=0)
        output = self.out(functional.gelu(self.block(maps)))
        if self.masks:
            figure, mask = output.split([self.grid.channels, self.masks], dim=1)
            source = source.repeat_interleave(num, dim=0)
            scene = SCENE_GAIN * self.scene[camera]
            output = source + spread_mask(mask.sigmoid(), self.grid.channels) * (scene + figure - source)
        return output.unflatten(0, (-1, num))
