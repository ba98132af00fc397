"""Masks as noise levels: which part of a sample is told, which is asked, how noisy each is.

A level is a timestep of the noise schedule; GIVEN (-1) tells without noise, the noisiest level tells nothing. So one
mechanism makes all modes, and training draws a mode for each sample:

    mode      frames to come   actions     source
    joint     noisy            noisy       UVA (arXiv 2503.00200), UWM (2504.02792): independent levels
    policy    absent           noisy
    video     noisy            absent
    forward   noisy            given       forward dynamics
    inverse   given            noisy       inverse dynamics

Temporal masks tell whole frames, the first few of them, as the deck has it; the spatial mask, one for all frames, is
UVA's own. Everything that chance decides about a sample comes from its seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.modules.joint.network import GIVEN

Mode = Literal["joint", "policy", "video", "forward", "inverse"]
MODES: tuple[Mode, ...] = get_args(Mode)
TEACHES_ACTIONS = ("joint", "policy", "inverse")
LEAST_HIDDEN = 0.7  # share of the tokens that a spatial mask hides at least; MAR (arXiv 2406.11838), section 4.2
DRAWS = 10  # numbers of a sample that decide on its levels


@dataclass(frozen=True)
class Levels:
    """The levels of B samples."""

    modes: list[str]
    video: dict[str, Tensor]  # camera => (B, F) int64
    given: dict[str, Tensor]  # camera => (B, F, n) bool
    hidden: dict[str, Tensor]  # camera => (B, F, n) bool
    actions: Tensor  # (B,) int64
    shown: dict[str, Tensor]  # camera => (B,) bool: whether its frames up to now are seen
    tell_text: list[bool]
    generators: list[torch.Generator] = field(repr=False)  # for the noise

    def rows(self, *modes: str) -> Tensor:
        """Samples of these modes, (n,) int64."""
        return torch.tensor([row for row, mode in enumerate(self.modes) if mode in modes], dtype=torch.int64)


@dataclass(frozen=True)
class LevelOptions:
    """How levels are drawn.

    Args:
        shares: mode => its share of the samples; those left out have none.
        mask: `temporal` or `spatial`, see the module.
        known: probability that a mask tells some of the frames to come; else none is told.
        drop_view: probability that one of several views is not shown, in all modes but policy.
        give_view: probability that the frames to come of one of several views are told, so that the others learn from
            it.
        drop_text: probability that the sentence is not told, for guidance.
    """

    shares: Mapping[str, float]
    mask: str = "temporal"
    known: float = 0.0
    drop_view: float = 0.0
    give_view: float = 0.0
    drop_text: float = 0.0

    def __post_init__(self) -> None:
        wrong = [mode for mode in self.shares if mode not in MODES]
        if wrong or abs(sum(self.shares.values()) - 1.0) > 1e-6 or min(self.shares.values()) < 0:
            raise UserError(
                f"levels.shares: {dict(self.shares)}; wanted shares of {', '.join(MODES)} that add up to 1."
            )
        if self.mask not in ("temporal", "spatial"):
            raise UserError(f"levels.mask: '{self.mask}' is not one of temporal, spatial.")
        for name in ("known", "drop_view", "give_view", "drop_text"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"levels.{name}: {getattr(self, name)}; wanted a probability.")


class LevelSampler:
    """Draws levels for training.

    Args:
        options: how.
        video_levels, action_levels: timesteps, each as likely.
        noisiest: the timestep that tells nothing.
        tokens: camera => tokens of a frame.
    """

    def __init__(
        self,
        options: LevelOptions,
        video_levels: Sequence[int],
        action_levels: Sequence[int],
        noisiest: int,
        tokens: Mapping[str, int],
    ) -> None:
        self.options, self.noisiest, self.tokens = options, noisiest, dict(tokens)
        self.video_levels, self.action_levels = list(video_levels), list(action_levels)

    def draw(self, seeds: Tensor, acts: Tensor, future: Mapping[str, Tensor], shown: Mapping[str, Tensor]) -> Levels:
        """Levels of B samples, on the CPU.

        Args:
            seeds: (B,) int64.
            acts: (B,) bool: whether there are actions to learn.
            future: camera => (B, F) bool: which frames to come there are.
            shown: camera => (B,) bool: which views there are.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        u = torch.stack([torch.rand(DRAWS, generator=generator) for generator in generators])
        there = torch.stack([valid.any(dim=1) for valid in future.values()]).any(dim=0)
        modes = [self._mode(*row) for row in zip(u[:, 0].tolist(), acts.tolist(), there.tolist(), strict=True)]
        levels = torch.tensor(self.video_levels)[(u[:, 1] * len(self.video_levels)).long()]
        actions = torch.tensor(self.action_levels)[(u[:, 2] * len(self.action_levels)).long()]
        is_mode = {mode: torch.tensor([drawn == mode for drawn in modes]) for mode in MODES}
        actions = torch.where(is_mode["forward"], GIVEN, torch.where(is_mode["video"], self.noisiest, actions))
        video, given, hidden = {}, {}, {}
        views = self._choose_views(u, shown, is_mode["policy"])
        for camera, valid in future.items():
            told = is_mode["inverse"] | (views["given"][camera] & (is_mode["joint"] | is_mode["video"]))
            frames = torch.where(told, GIVEN, levels)[:, None].expand(valid.shape).clone()
            partly = self._mask(u, valid.shape[1], self.tokens[camera], generators) & ~is_mode["inverse"][:, None, None]
            frames[partly.all(dim=2)] = GIVEN
            frames[~valid] = self.noisiest
            video[camera] = frames
            given[camera] = (partly | (frames == GIVEN)[..., None]) & valid[..., None]
            hidden[camera] = ~given[camera] & (frames == self.noisiest)[..., None]
        tell = (u[:, 6] >= self.options.drop_text).tolist()
        return Levels(modes, video, given, hidden, actions, views["shown"], tell, generators)

    def _mode(self, u: float, acts: bool, there: bool) -> str:
        """The mode that u in [0, 1) draws, or the one that the sample can teach."""
        if not acts:
            return "video"
        if not there:
            return "policy"
        for mode, share in self.options.shares.items():
            u -= share
            if u < 0:
                return mode
        return next(iter(self.options.shares))

    def _choose_views(self, u: Tensor, shown: Mapping[str, Tensor], acts_alone: Tensor) -> dict[str, dict[str, Tensor]]:
        """Which views are shown, and of which the frames to come are told: of each at most one is singled out."""
        valid = torch.stack(list(shown.values()), dim=1)  # (B, V)
        several = valid.sum(dim=1) > 1
        number = torch.arange(valid.shape[1])
        dropped = (u[:, 3] < self.options.drop_view) & several & ~acts_alone
        lost = number == (u[:, 4] * valid.shape[1]).long()[:, None]
        told = (u[:, 5] < self.options.give_view) & several
        chosen = number == ((u[:, 7] * valid.shape[1]).long())[:, None]
        kept, given = valid & ~(lost & dropped[:, None]), chosen & told[:, None]
        return {
            "shown": {camera: kept[:, i] for i, camera in enumerate(shown)},
            "given": {camera: given[:, i] for i, camera in enumerate(shown)},
        }

    def _mask(self, u: Tensor, frames: int, tokens: int, generators: list[torch.Generator]) -> Tensor:
        """(B, F, n) tokens that are told without noise."""
        if not self.options.known:
            return torch.zeros(len(u), frames, tokens, dtype=torch.bool)
        masks = []
        for (tells, size), generator in zip(u[:, 8:10].tolist(), generators, strict=True):  # alike for all views
            if self.options.mask == "spatial":
                share = (1 - LEAST_HIDDEN) * size
                mask = (torch.rand(tokens, generator=generator) < share).expand(frames, tokens)
            else:
                mask = (torch.arange(frames) < int(size * frames))[:, None].expand(frames, tokens)
            masks.append(mask & (tells < self.options.known))
        return torch.stack(masks)
