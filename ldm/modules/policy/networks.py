"""Networks of policies: pictures or object poses, state and sentence => a chunk of actions.

Sources: spatial softmax, Levine et al., End-to-End Training of Deep Visuomotor Policies (arXiv 1504.00702), section 5;
chunks of actions, ACT (arXiv 2304.13705), here without its latent: for a scripted expert it changes nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from ldm.util import make_from_params

POSE = 9  # numbers of an object: x, y, z in metres, then the first two columns of its rotation matrix
GROUPS = 8  # of group normalisation


class ActionPlan(NamedTuple):
    """What a network answers."""

    actions: Tensor  # (B, K, A) relative to the command in force, in units of the actions' scale
    objects: Tensor | None  # (B, N, POSE) where the objects are, in units of their scale; None where it was told


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), the same shape out."""
        return x + self.second(functional.gelu(self.norm(self.first(functional.gelu(x)))))


class KeypointEncoder(nn.Module):
    """Where things are in a picture: K soft keypoints, each with its place and what is seen there.

    A softmax over a map of logits is the keypoint's distribution over the picture; its mean is the place. Average
    pooling would lose exactly that.

    Args:
        channels: of the maps, a multiple of 8.
        keypoints: K.
        blocks: residual blocks at a quarter of the picture's side.
        values: numbers that are read at each keypoint.
        pictures: that lie on one another, of three channels each.
    """

    def __init__(self, channels: int, keypoints: int, blocks: int, values: int, pictures: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3 * pictures, 24, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(24, channels, 3, stride=2, padding=1),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.logits = nn.Conv2d(channels, keypoints, 1)
        self.log_sharpness = nn.Parameter(torch.zeros(keypoints, 1, 1))
        self.values = nn.Conv2d(channels, values, 1)
        self.width, self.pictures = keypoints * (2 + values), pictures

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], H and W multiples of 4 => (B, width): places in [-1, 1], then values."""
        return self.read(self.look(frame))

    def look(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) => feature map (B, channels, H / 4, W / 4)."""
        return functional.gelu(self.blocks(self.stem(frame)))

    def read(self, features: Tensor) -> Tensor:
        """Keypoints (B, width) of a feature map."""
        logits = self.logits(features) * self.log_sharpness.exp()
        height, width = logits.shape[-2:]
        shares = rearrange(logits, "b k h w -> b k (h w)").softmax(dim=-1)
        y, x = (torch.linspace(-1, 1, side, device=features.device, dtype=features.dtype) for side in (height, width))
        places = torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)  # (H W, 2)
        values = rearrange(self.values(features), "b v h w -> b (h w) v")
        seen = torch.cat([shares @ places, shares @ values], dim=-1)
        return rearrange(seen, "b k v -> b (k v)")


def make_encoders(encoders: Mapping[str, Mapping]) -> nn.ModuleDict:
    """KeypointEncoders by name, from their parameters by name."""
    return nn.ModuleDict(
        {name: make_from_params(KeypointEncoder, params, f"encoders.{name}") for name, params in encoders.items()}
    )


def make_layers(width_in: int, hidden: int, layers: int, width_out: int) -> nn.Sequential:
    """Linear layers with GELU between them, `layers` of them of width `hidden`."""
    widths = [width_in] + [hidden] * layers
    parts = [part for a, b in zip(widths, widths[1:], strict=False) for part in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*parts, nn.Linear(widths[-1], width_out))


class VisionNetwork(nn.Module):
    """A policy that sees: keypoints of each camera, an estimate of where the objects are, then the actions from that.

    The pictures are asked one thing, where the objects are, and learn it from the simulator's truth; the action layers
    know the pictures by that estimate alone, and their gradient does not reach it. So they can be trained on far more
    windows than pictures are drawn for.

    Args:
        encoders: name => parameters of a KeypointEncoder; cameras may share one.
        cameras: camera => name of its encoder.
        state, text: numbers of state and of the embedded sentence.
        actions, chunk: A and K.
        objects: N.
        hidden, layers: of the action layers; the estimate has two layers of that width.
    """

    privileged = False

    def __init__(
        self,
        encoders: Mapping[str, Mapping],
        cameras: Mapping[str, str],
        state: int,
        text: int,
        actions: int,
        chunk: int,
        objects: int,
        hidden: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.cameras = dict(cameras)
        self.encoders = make_encoders(encoders)
        seen = sum(self.encoders[name].width for name in self.cameras.values())
        self.norm = nn.LayerNorm(seen)
        self.shape, self.num_objects, self.told = (chunk, actions), objects, (state, text)
        self.locate = make_layers(seen + state + text, hidden, 2, objects * POSE)
        self.act = make_layers(state + text + objects * POSE, hidden, layers, chunk * actions)

    def forward(self, frames: Mapping[str, Tensor], state: Tensor, text: Tensor, objects: Tensor | None) -> ActionPlan:
        """Frames by camera (B, 3, H, W) in [-1, 1], state (B, S), text (B, T); `objects` is not looked at."""
        seen = [self.encoders[name](frames[camera]) for camera, name in self.cameras.items()]
        located = self.locate(torch.cat([self.norm(torch.cat(seen, dim=1)), state, text], dim=1))
        located = located.unflatten(1, (self.num_objects, POSE))
        return ActionPlan(self.decide(state, text, located.detach()), located)

    def decide(self, state: Tensor, text: Tensor, objects: Tensor) -> Tensor:
        """Actions (B, K, A) where the objects (B, N, POSE) are as told."""
        return self.act(torch.cat([state, text, objects.flatten(1)], dim=1)).unflatten(1, self.shape)


class StateNetwork(nn.Module):
    """A policy that is told where the objects are: the row that a policy that sees is measured against.

    Args:
        state, text, actions, chunk, objects, hidden, layers: as of VisionNetwork.
    """

    privileged = True

    def __init__(self, state: int, text: int, actions: int, chunk: int, objects: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.cameras: dict[str, str] = {}
        self.shape, self.num_objects, self.told = (chunk, actions), objects, (state, text)
        self.act = make_layers(state + text + objects * POSE, hidden, layers, chunk * actions)

    def forward(self, frames: Mapping[str, Tensor], state: Tensor, text: Tensor, objects: Tensor | None) -> ActionPlan:
        """State (B, S), text (B, T), objects (B, N, POSE); no frames."""
        return ActionPlan(self.decide(state, text, objects), None)

    def decide(self, state: Tensor, text: Tensor, objects: Tensor) -> Tensor:
        """Actions (B, K, A) where the objects (B, N, POSE) are as told."""
        return self.act(torch.cat([state, text, objects.flatten(1)], dim=1)).unflatten(1, self.shape)
