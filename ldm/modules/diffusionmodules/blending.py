"""A U-Net for a camera that stands still: it says where the picture changes, and to what.

Ours. Predicting the bare change of a lossless latent asks the network for the exact negative of everything that moves
away; a small network leaves its outline there. Here the source frame is taken away by a mask instead, and what it hid
is there already: the empty scene, one learned picture. Where training pairs that look alike are given as well, their
future frames are further pictures to take from, pixel by pixel: a look-up that the network may correct.
"""

from collections.abc import Mapping

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from commands.errors import UserError
from ldm.modules.basic import zero_module
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from ldm.util import instantiate_from_config

# The scene is stored this much smaller than it is: Adam's steps are the learning rate, and pixels lie far apart.
SCENE_GAIN = 8.0
MAP_SIDE = 8  # places of the map that is made of a vector
MAP_HIDDEN = 256
NEIGHBOUR_CHANNELS = 64  # that the U-Net sees of one neighbour


class VectorMap(nn.Module):
    """A coarse map made of a vector, so that what is known of a whole picture may say what lies where.

    Args:
        width: V, numbers of the vector.
        channels: of the map.
        size: side of the map, a multiple of MAP_SIDE: each of MAP_SIDE x MAP_SIDE places is repeated.
    """

    def __init__(self, width: int, channels: int, size: int) -> None:
        if size % MAP_SIDE:
            raise UserError(f"map_channels: a map on latents of {size} places a side; wanted a multiple of {MAP_SIDE}.")
        super().__init__()
        self.times = size // MAP_SIDE
        self.layers = nn.Sequential(
            nn.Linear(width, MAP_HIDDEN), nn.SiLU(), nn.Linear(MAP_HIDDEN, channels * MAP_SIDE**2), nn.SiLU()
        )

    def forward(self, y: Tensor) -> Tensor:
        """(B, V) => (B, channels, size, size)."""
        coarse = rearrange(self.layers(y), "b (c h w) -> b c h w", h=MAP_SIDE, w=MAP_SIDE)
        return repeat(coarse, "b c h w -> b c (h a) (w e)", a=self.times, e=self.times)


class DetailHead(nn.Module):
    """From features of patches to their pixels by way of half-size patches: one linear step from a patch's features to
    its pixels draws soft edges.

    Args:
        channels: at twice the latent's side.
        planes: pictures that come out, such as three colours and a mask.
        patch: side of a patch in pixels, even.
    """

    def __init__(self, channels: int, planes: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.layers = nn.Sequential(
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            zero_module(nn.Conv2d(channels, planes * (patch // 2) ** 2, 3, padding=1)),
            nn.PixelShuffle(patch // 2),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, 4 channels, h, w) => (B, planes patch^2, h, w), pixels of a patch as PatchFirstStage has them."""
        return functional.pixel_unshuffle(self.layers(features), self.patch)


class BlendingUNet(UNetModel):
    """Predicts the clean change of a latent as `scale_factor * mask * (backdrop - source)`.

    The backdrop is scene + figure; with K neighbours it is a mean of that and of their future frames, weighted in every
    place by a softmax. Mask, figure and weights are the U-Net's; it sees the source as its difference from the scene,
    and both frames of each neighbour as their differences from the source, through one convolution that all neighbours
    share. For models that predict the change (`predict_change`) as x0, with the source latent, then the neighbours'
    (see Conditioning.retrieved), concatenated to the noisy one.

    Args:
        in_channels: 2 C, of the noisy latent and of the source's.
        out_channels: C.
        latent_size: side of the latents, since the scene has one value a place.
        mask_channels: M; mask m acts on the latent channels m, m + M, m + 2 M ...; for patches of pixels, p^2 gives
            every pixel one.
        scale_factor: the model's own; the source comes unscaled, the change goes scaled.
        sees_noise: hand the noisy latent to the network; false for one step from pure noise, which says nothing.
        map_channels: of a VectorMap of the vector, seen beside the source; 0 for none.
        detail_channels: of a DetailHead, for patches of pixels; 0 draws all pixels of a patch at once.
        foresight_config: node of a Foresight, whose states are part of the vector; None foresees none.
        neighbours: K.
        **unet: see UNetModel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        latent_size: int,
        mask_channels: int,
        scale_factor: float,
        *,
        sees_noise: bool = True,
        map_channels: int = 0,
        detail_channels: int = 0,
        foresight_config: Mapping | None = None,
        neighbours: int = 0,
        **unet: object,
    ) -> None:
        if in_channels != 2 * out_channels or out_channels % mask_channels:
            raise UserError(
                f"in_channels {in_channels}, out_channels {out_channels}, mask_channels {mask_channels}: wanted 2 C, "
                "C and a divisor of C."
            )
        seen = (in_channels if sees_noise else out_channels) + map_channels + neighbours * NEIGHBOUR_CHANNELS
        drawn = 4 * detail_channels or out_channels + (1 + neighbours) * mask_channels
        super().__init__(in_channels=seen, out_channels=drawn, **unet)
        self.latent_channels, self.mask_channels = out_channels, mask_channels
        self.sees_noise, self.neighbours = sees_noise, neighbours
        self.scale_factor = scale_factor
        self.scene = nn.Parameter(torch.zeros(out_channels, latent_size, latent_size))
        self.vector_map = VectorMap(self.adm_in_channels or 0, map_channels, latent_size) if map_channels else None
        self.describe = nn.Conv2d(2 * out_channels, NEIGHBOUR_CHANNELS, 1) if neighbours else None
        self.detail = self._make_detail(detail_channels) if detail_channels else None
        self.foresight = (
            None if foresight_config is None else instantiate_from_config(foresight_config, "foresight_config")
        )

    def _make_detail(self, channels: int) -> DetailHead:
        """The head; the layer before it is then no last one, and does not start at zero."""
        patch = round(self.mask_channels**0.5)
        self.out[2].reset_parameters()
        drawn = self.latent_channels + (1 + self.neighbours) * self.mask_channels
        return DetailHead(channels, drawn // patch**2, patch)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None) -> Tensor:
        """Clean change (B, C, H, W), in the dtype of x; arguments as UNetModel's, x (B, (2 + 2 K) C, H, W).

        Raises:
            UserError: if the latent has another size than the scene.
        """
        self._check(x, 2 * (1 + self.neighbours) * self.latent_channels)
        if x.shape[-2:] != self.scene.shape[-2:]:
            raise UserError(
                f"latent of {x.shape[-2]} x {x.shape[-1]}: this network was built for one camera at "
                f"{self.scene.shape[-2]} x {self.scene.shape[-1]} (latent_size); give frames of the trained resolution."
            )
        noisy, source, *frames = x.split(self.latent_channels, dim=1)
        scene = SCENE_GAIN * self.scene.to(x.dtype)
        seen = ([noisy] if self.sees_noise else []) + [source - scene]
        if self.vector_map is not None:
            seen.append(self.vector_map(y.to(self.scene.dtype)).to(x.dtype))
        seen += [self._describe(source, *pair) for pair in zip(frames[::2], frames[1::2], strict=True)]
        output = super().forward(torch.cat(seen, dim=1), timesteps, context, y)
        output = output if self.detail is None else self.detail(output)
        sizes = [self.latent_channels, self.mask_channels, self.neighbours * self.mask_channels]
        figure, mask, weights = output.split(sizes, dim=1)
        backdrop = scene + figure
        if self.neighbours:
            backdrop = self._mix([backdrop, *frames[1::2]], weights)
        return self.scale_factor * spread_mask(mask.sigmoid(), self.latent_channels) * (backdrop - source)

    def _describe(self, source: Tensor, theirs: Tensor, future: Tensor) -> Tensor:
        """What the U-Net sees of one neighbour (B, NEIGHBOUR_CHANNELS, H, W)."""
        differences = torch.cat([theirs - source, future - source], dim=1)
        return self.describe(differences.to(self.describe.weight.dtype)).to(source.dtype)

    def _mix(self, pictures: list[Tensor], weights: Tensor) -> Tensor:
        """Mean of 1 + K pictures (B, C, H, W), by weights (B, K M, H, W) before the softmax; the first one's are 0."""
        scores = rearrange(weights, "b (k m) h w -> k b m h w", m=self.mask_channels)
        shares = torch.cat([torch.zeros_like(scores[:1]), scores]).softmax(dim=0)
        spread = (spread_mask(share, self.latent_channels) for share in shares)
        return sum(share * picture for share, picture in zip(spread, pictures, strict=True))


def spread_mask(mask: Tensor, channels: int) -> Tensor:
    """A mask (B, M, H, W) of `channels` channels; m acts on the channels m, m + M, m + 2 M ..."""
    return repeat(mask, "b m h w -> b (c m) h w", c=channels // mask.shape[1])
