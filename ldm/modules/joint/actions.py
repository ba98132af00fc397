"""The stream of actions: a plan out of keypoints, state and sentence, as tokens that then look at the video stream.

The plan is what ldm.modules.policy.networks.VisionNetwork makes, which is known to work: keypoints of each camera tell
where the objects are, and the actions follow from that estimate alone, which they may trust and not bend. Here its last
layer gives tokens of a few steps each instead of actions; since the layers after it start as the identity, the stream
begins as that policy.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from commands.errors import UserError
from ldm.modules.encoders.modules import EMBEDDING_STD
from ldm.modules.joint.attention import LevelEmbedding, StreamLayer
from ldm.modules.policy.networks import POSE, make_layers


class Plan(NamedTuple):
    """What a sample's actions begin with."""

    tokens: Tensor  # (B, N, width)
    objects: Tensor  # (B, objects, POSE) where they are or were told to be, in units of their scale


class ActionStream(nn.Module):
    """Tokens of actions, their layers and their head.

    Args:
        seen: numbers of all cameras' keypoints.
        text, state: numbers of the embedded sentence and of the state.
        actions, chunk: A and K.
        steps_per_token: of the chunk.
        objects: of which the places are estimated.
        width: of a token.
        hidden, layers: of the plan; the estimate has two layers of that width.
        depth: layers of the stream, as many as the video stream has.
        attention: heads, and channels of a head, as of the video stream.
    """

    def __init__(
        self,
        seen: int,
        text: int,
        state: int,
        actions: int,
        chunk: int,
        steps_per_token: int,
        objects: int,
        width: int,
        hidden: int,
        layers: int,
        depth: int,
        attention: tuple[int, int],
    ) -> None:
        super().__init__()
        if chunk % steps_per_token:
            raise UserError(f"action.steps_per_token: {steps_per_token}; wanted a divisor of the chunk of {chunk}.")
        self.shape, self.num_objects, self.told = (chunk, actions), objects, (state, text)
        self.steps, num = steps_per_token, chunk // steps_per_token
        self.norm = nn.LayerNorm(seen)
        self.locate = make_layers(seen + state + text, hidden, 2, objects * POSE)
        self.plan = make_layers(state + text + objects * POSE, hidden, layers, num * width)
        self.embed = nn.Linear(steps_per_token * actions, width)
        self.place = nn.Parameter(EMBEDDING_STD * torch.randn(num, width))
        self.level = LevelEmbedding(width)
        self.layers = nn.ModuleList(StreamLayer(width, *attention) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, steps_per_token * actions))

    def find(self, keypoints: Tensor, state: Tensor, text: Tensor) -> Tensor:
        """Where the objects are (B, N, POSE), of keypoints (B, seen), state (B, S) and sentence (B, L)."""
        told = torch.cat([self.norm(keypoints), state, text], dim=1)
        return self.locate(told).unflatten(1, (self.num_objects, POSE))

    def make_plan(self, objects: Tensor, state: Tensor, text: Tensor) -> Plan:
        """Of where the objects are, or are thought to be, (B, N, POSE)."""
        tokens = self.plan(torch.cat([state, text, objects.detach().flatten(1)], dim=1))
        return Plan(tokens.unflatten(1, self.place.shape), objects)

    def begin(self, plan: Plan, content: Tensor) -> Tensor:
        """Tokens (B, 1, N, width) of a plan and of noisy actions (B, K, A)."""
        noisy = self.embed(rearrange(content, "b (n s) a -> b n (s a)", s=self.steps))
        return (plan.tokens + noisy + self.place)[:, None]

    def finish(self, x: Tensor) -> Tensor:
        """Actions (B, K, A) of tokens (B, 1, N, width)."""
        return rearrange(self.head(x[:, 0]), "b n (s a) -> b (n s) a", s=self.steps)
