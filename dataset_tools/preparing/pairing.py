"""Which frames of an episode make a pair: (t, t + horizon). Pure functions of lengths and numbers.

| pairing       | pairs of an episode of T frames                           | paper                     |
|---------------|-----------------------------------------------------------|---------------------------|
| fixed         | i -> i + h for i = 0, k, 2k, ... (stride k)               | acp; light_future stage 2 |
| first_last    | random frame of the first n -> random frame of the last n | afp                       |
| chained       | 0 -> h -> 2h -> ...                                       | morpheus                  |
| multi_horizon | fixed, for several h; every pair knows its horizon        | light_future figure 3     |

A pair whose target lies beyond the last frame is skipped and counted; it is never clamped to the last frame, which
would teach the model that motion stops.
"""

from dataclasses import dataclass

from commands.errors import UserError
from formats.hashing import stable_fraction

LONGEST_HORIZON = 10_000_000  # frames or seconds
MOST_PAIRS = 1_000_000  # of an episode
PAIRINGS = ("fixed", "first_last", "chained", "multi_horizon")


@dataclass(frozen=True)
class PairIndex:
    """Frame numbers of a pair; source_index < target_index < length of the episode."""

    source_index: int
    target_index: int


@dataclass(frozen=True)
class Pairs:
    """Pairs of one episode and how many were asked for but lack their target frame."""

    found: tuple[PairIndex, ...]
    skipped: int


@dataclass(frozen=True)
class PairingRule:
    """How to pair frames. Horizons are given in frames or in seconds, never both."""

    kind: str = "fixed"
    horizons: tuple[int, ...] = ()  # frames
    horizons_seconds: tuple[float, ...] = ()
    stride: int = 1  # fixed and multi_horizon: every stride-th frame is a source
    window: int = 50  # first_last: n
    pairs_per_episode: int = 1  # first_last
    seed: int = 0  # first_last

    def __post_init__(self) -> None:
        if self.kind not in PAIRINGS:
            raise UserError(f"pairing '{self.kind}' is not one of {', '.join(PAIRINGS)}.")
        if min(self.stride, self.window, self.pairs_per_episode) < 1:
            raise UserError("stride, window and pairs per episode must be at least 1.")
        if self.pairs_per_episode > MOST_PAIRS:
            raise UserError(f"--pairs-per-episode {self.pairs_per_episode} is more than {MOST_PAIRS}; give fewer.")
        given = len(self.horizons) + len(self.horizons_seconds)
        if self.kind == "first_last":
            if given:
                raise UserError("pairing first_last draws its horizons: give --window, not --horizon.")
            return
        if not given or (self.horizons and self.horizons_seconds):
            raise UserError(f"pairing {self.kind} wants a horizon, in frames or in seconds: for example --horizon 50.")
        if given > 1 and self.kind != "multi_horizon":
            raise UserError(f"pairing {self.kind} takes one horizon, got {given}; use --pairing multi_horizon.")
        if not all(0 < horizon <= LONGEST_HORIZON for horizon in self.horizons + self.horizons_seconds):
            raise UserError("a horizon must be positive (the target lies in the future) and no longer than an episode.")


def make_pairs(
    rule: PairingRule, length: int, *, task: str, number: int, frames_per_second: float | None = None
) -> Pairs:
    """Pairs of the episode (task, number) with `length` frames, in the order of their source frames.

    Raises:
        UserError: if the horizon is in seconds and the rate of the episode is unknown.
    """
    if rule.kind == "first_last":
        return _first_last(rule, length, task, number)
    horizons = rule.horizons or tuple(
        horizon_frames(seconds, frames_per_second, where=f"{task}/{number}") for seconds in rule.horizons_seconds
    )
    asked = [
        PairIndex(source, source + horizon)
        for horizon in dict.fromkeys(horizons)
        for source in range(0, length, horizon if rule.kind == "chained" else rule.stride)
    ]
    found = tuple(sorted((pair for pair in asked if pair.target_index < length), key=_by_source))
    return Pairs(found, len(asked) - len(found))


def horizon_frames(seconds: float, frames_per_second: float | None, *, where: str) -> int:
    """Frames in a time span, at least 1, rounded to nearest.

    Raises:
        UserError: if the rate is unknown.
    """
    if not frames_per_second:
        raise UserError(
            f"the frame rate of {where} is unknown, so a horizon in seconds means nothing; give --save-freq "
            f"(RoboTwin's physics steps per saved frame, often 15 or 50) or the horizon in frames."
        )
    return max(1, round(seconds * frames_per_second))


def _first_last(rule: PairingRule, length: int, task: str, number: int) -> Pairs:
    """Source from [0, min(n, T - 1)), target from [max(source + 1, T - n), T)."""
    if length < 2:
        return Pairs((), rule.pairs_per_episode)
    found = []
    for draw in range(rule.pairs_per_episode):
        source_draw, target_draw = (stable_fraction(rule.seed, task, number, draw, end) for end in ("first", "last"))
        source = int(source_draw * min(rule.window, length - 1))
        start = max(source + 1, length - rule.window)
        found.append(PairIndex(source, start + int(target_draw * (length - start))))
    unique = sorted(set(found), key=_by_source)
    return Pairs(tuple(unique), 0)


def _by_source(pair: PairIndex) -> tuple[int, int]:
    return pair.source_index, pair.target_index
