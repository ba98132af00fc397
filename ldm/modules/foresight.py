"""Where robot and objects are, and where they will be, from one picture, a sentence and the seconds ahead.

Ours. The mean of possible pictures is a blur, the mean of possible states is a state: a network that is told a state
can draw it sharp. States are known in simulation, and joints in any recording; nobody has to tell one to predict. How
sure the prediction is comes with it, as a Gaussian of low rank, since what is unsure (how fast the arm is) moves all
joints together; draws of it are further futures.

Its error is L1; its spread is learnt by the likelihood of what is left (Nix and Weigend, 1994), without a gradient into
the mean, which it would spoil (arXiv 2203.09168, section 3).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal
from torch.nn import functional

from ldm.modules.policy.networks import KeypointEncoder, make_layers
from ldm.util import make_from_params

LEAST_LOG_STD, MOST_LOG_STD = -3.0, 1.0  # of a state's number, in units of its deviation over the training data


class Foreseen(NamedTuple):
    """States of B samples in units of their deviation over the training data, as a Gaussian."""

    now: Tensor  # (B, S)
    mean: Tensor  # (B, S)
    log_std: Tensor  # (B, S) of what is unsure in each number alone
    factor: Tensor  # (B, S, R) of what is unsure in all together

    def detach(self) -> "Foreseen":
        """The same without gradients."""
        return Foreseen(*(value.detach() for value in self))

    @property
    def std(self) -> Tensor:
        """(B, S) of each number, with both kinds."""
        return ((2 * self.log_std).exp() + (self.factor**2).sum(dim=-1)).sqrt()

    def draw(self, generators: Sequence[torch.Generator]) -> Tensor:
        """(B, S), sample i drawn by generator i alone."""
        size, rank = self.factor.shape[1:]
        draws = torch.stack([torch.randn(size + rank, generator=g) for g in generators]).to(self.mean)
        shared = (self.factor @ draws[:, size:, None]).squeeze(-1)
        return self.mean + self.log_std.exp() * draws[:, :size] + shared

    def losses(self, state: Tensor, known: Tensor) -> dict[str, Tensor]:
        """Means over a batch, () each.

        Args:
            state: (B, 2, S) true states now and then.
            known: (B, S) bool; a task has fewer objects than another.
        """
        now = ((state[:, 0] - self.now) * known).abs().mean()
        return {"state_now": now} | self.losses_then(state[:, 1], known)

    def losses_then(self, state: Tensor, known: Tensor) -> dict[str, Tensor]:
        """Means () for true states then (B, S); see `losses`."""
        off = (state - self.mean) * known
        rest = off.detach()
        spread = LowRankMultivariateNormal(torch.zeros_like(rest), self.factor, (2 * self.log_std).exp())
        return {"state_then": off.abs().mean(), "state_spread": -spread.log_prob(rest).mean() / rest.shape[1]}


class Foresight(nn.Module):
    """Keypoints of the picture => the state now; that, sentence and seconds => the state then, and how sure.

    The future comes of the present state alone: what else a picture shows would be learnt by heart. Its gradient does
    not reach the picture, which is asked one thing.

    Args:
        encoder: parameters of a KeypointEncoder.
        state: S, numbers of a state.
        text: width of the sentence's tokens, which are averaged.
        ahead: numbers that tell the seconds ahead.
        hidden, layers: of what makes the future of the present.
        rank: R, ways in which all numbers are unsure together.
        doubt: share of the spread that the drawing network is told when the mean is drawn: with 1 it hedges, and blurs
            what is unsure; with 0 it draws the mean as if that were sure. Of no effect in training.
        reveal: share of training samples whose true future the drawing network is told.
    """

    def __init__(
        self,
        encoder: Mapping,
        state: int,
        text: int,
        ahead: int,
        hidden: int,
        layers: int,
        rank: int,
        doubt: float,
        reveal: float,
    ) -> None:
        super().__init__()
        self.size, self.rank, self.doubt, self.reveal = state, rank, doubt, reveal
        self.encoder = make_from_params(KeypointEncoder, encoder, "foresight_config.params.encoder")
        self.norm = nn.LayerNorm(self.encoder.width)
        self.locate = make_layers(self.encoder.width, hidden, 1, state)
        self.advance = make_layers(state + text + ahead, hidden, layers - 1, hidden)
        self.change = nn.Linear(hidden, state)
        self.spread = make_layers(hidden, hidden // 2, 1, state * (1 + rank))

    @property
    def width(self) -> int:
        """Numbers that the drawing network is told: a state, and how far off each of its numbers may be."""
        return 2 * self.size

    def forward(self, frame: Tensor, text: Tensor, ahead: Tensor) -> Foreseen:
        """Frames (B, 3, H, W) in [-1, 1], averaged tokens (B, D), embedded seconds (B, A)."""
        return self.foresee(self.see(frame), text, ahead)

    def see(self, frame: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [-1, 1] => the states that they show (B, S)."""
        return self.locate(self.norm(self.encoder(frame)))

    def foresee(self, now: Tensor, text: Tensor, ahead: Tensor) -> Foreseen:
        """States (B, S), averaged tokens (B, D), embedded seconds (B, A)."""
        later = functional.gelu(self.advance(torch.cat([now.detach(), text, ahead], dim=1)))
        log_std, factor = self.spread(later.detach()).split([self.size, self.size * self.rank], dim=1)
        log_std = log_std.clamp(LEAST_LOG_STD, MOST_LOG_STD)
        mean = now.detach() + self.change(later)
        return Foreseen(now, mean, log_std, factor.unflatten(1, (self.size, self.rank)))

    def tell(self, foreseen: Foreseen) -> Tensor:
        """(B, width) for drawing the mean."""
        return torch.cat([foreseen.mean, self.doubt * foreseen.std], dim=1)

    def tell_sure(self, state: Tensor) -> Tensor:
        """(B, width) for drawing states (B, S) as they are."""
        return torch.cat([state, torch.zeros_like(state)], dim=1)

    def teach(self, foreseen: Foreseen, state: Tensor, coins: Tensor) -> Tensor:
        """(B, width) for training: true states (B, S) where coins (B,) in [0, 1) are below `reveal`, else the mean."""
        hedged = torch.cat([foreseen.mean, foreseen.std], dim=1).detach()
        return torch.where((coins < self.reveal)[:, None], self.tell_sure(state), hedged)
