"""The training stream: which sample comes when, as a pure function of (seed, position).

Sample n of the stream is element n mod N of the permutation of epoch n div N, or what a mixture of data sets has there
(ldm.data.mixture), with a seed made of (run seed, n). So a run can be cut anywhere and taken up again, and the samples
are the same for any number of devices and any way of splitting a batch into micro-batches.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from commands.errors import UserError

SEED_STRIDE = 0x9E3779B97F4A7C15  # odd, about 2^64 / golden ratio: spreads consecutive numbers over 64 bits
SEED_RANGE = 2**63


def sample_seed(run_seed: int, number: int) -> int:
    """Seed of sample `number` of a run: 63 bits, distinct for distinct numbers."""
    return ((run_seed + 1) * 0xD1B54A32D192ED03 + number * SEED_STRIDE) % SEED_RANGE


class Shuffled:
    """Which of N samples is number n of an endless stream: place n mod N of the permutation of pass n div N."""

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def __call__(self, number: int) -> int:
        """Index of sample `number`; rising numbers cost one permutation a pass."""
        epoch, place = divmod(number, self.num_samples)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(sample_seed(self.seed, -1 - epoch))
            self._epoch, self._order = epoch, torch.randperm(self.num_samples, generator=generator).tolist()
        return self._order[place]


class StreamSampler(Sampler):
    """Endless batches of (index, seed) for one of `world_size` processes, from a batch position on.

    Global batch k holds samples [k B W, (k + 1) B W) of the stream; process r takes its r-th part of B. With a
    schedule of resolutions the keys are (index, seed, resolution).

    Args:
        num_samples: in one pass over the data.
        batch_size: B.
        seed: of the run.
        rank, world_size: r and W.
        resolutions: (first batch, resolution) in rising order, from batch 0 on: progressive training.
        order: number in the stream => index; None shuffles all samples in each pass.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        resolutions: Sequence[tuple[int, int]] = (),
        order: Callable[[int], int] | None = None,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.resolutions = check_schedule(resolutions)
        self.order = order or Shuffled(num_samples, seed)
        self.position = 0  # batches to skip at the next iteration

    def resolution(self, position: int) -> tuple[int, ...]:
        """(resolution,) of the batch at `position`, or nothing without a schedule."""
        return next(((side,) for first, side in reversed(self.resolutions) if position >= first), ())

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """Batches from `position` on, without end."""
        position = self.position
        while True:
            side = self.resolution(position)
            first = (position * self.world_size + self.rank) * self.batch_size
            numbers = range(first, first + self.batch_size)
            yield [(self.order(number), sample_seed(self.seed, number), *side) for number in numbers]
            position += 1


def check_schedule(resolutions: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The schedule as tuples.

    Raises:
        UserError: if it does not begin at 0 or does not rise.
    """
    schedule = [tuple(entry) for entry in resolutions]
    starts = [entry[0] for entry in schedule]
    if any(len(entry) != 2 for entry in schedule) or starts != sorted(set(starts)) or starts[:1] not in ([], [0]):
        raise UserError(
            f"data.params.resolutions: {[list(entry) for entry in schedule]}; wanted [first step, resolution] pairs "
            "with rising first steps, the first of them 0, such as [[0, 64], [2000, 128]]."
        )
    return schedule


class TrainingStream:
    """A loader over the stream that Lightning can save and take up again at the exact batch.

    Its length is the number of global batches in one pass over the data, at least 1; iterating goes on
    where it stopped, also across epochs, so workers never idle at an epoch's end.
    """

    def __init__(self, dataset: Dataset, sampler: StreamSampler, **loader: object) -> None:
        self.sampler = sampler
        self.loader = DataLoader(dataset, batch_sampler=sampler, **loader)
        self.position = 0  # batches handed out
        self._batches: Iterator | None = None

    def __len__(self) -> int:
        return max(1, self.sampler.num_samples // (self.sampler.batch_size * self.sampler.world_size))

    def __iter__(self) -> "TrainingStream":
        return self

    def __next__(self) -> dict:
        if self._batches is None:
            self.sampler.position = self.position
            self._batches = iter(self.loader)
        batch = next(self._batches)
        self.position += 1
        return batch

    def state_dict(self) -> dict:
        """Position in the stream, and what it counts in."""
        return {"position": self.position, "global_batch": self.sampler.batch_size * self.sampler.world_size}

    def load_state_dict(self, state: dict) -> None:
        """Take up the stream after the samples that were consumed.

        Raises:
            UserError: if the global batch differs so that the position falls inside a batch.
        """
        samples = state["position"] * state["global_batch"]
        global_batch = self.sampler.batch_size * self.sampler.world_size
        if samples % global_batch:
            raise UserError(
                f"the run stopped after {samples} samples in global batches of {state['global_batch']}; with "
                f"batches of {global_batch} it cannot go on there. Resume with the same batch size and devices."
            )
        self.position = samples // global_batch
        self._batches = None
