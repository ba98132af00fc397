"""A weighted mixture of data sets, through the same exact-resume stream as one of them (ldm.data.stream).

    train:
      target: ldm.data.mixture.Mixture
      params:
        parts:
          robot: {weight: 0.8, target: ..., params: {...}}
          bridge: {weight: 0.2, target: ..., params: {...}}

Every batch has the same shares, up to rounding: sample n of the stream belongs to the part that a pattern of PERIOD
samples names, and is the next sample of that part's own shuffled passes. A small part with a large weight is seen more
often than a large one; nothing is drawn with replacement.
"""

import bisect
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import Dataset

from commands.errors import UserError
from formats.prepared_episodes import Statistics
from ldm.data.frame_pairs import collate
from ldm.data.stream import Shuffled, sample_seed
from ldm.util import instantiate_from_config

PERIOD = 1000  # samples of the pattern: the finest share is a thousandth


class MixedOrder:
    """Number in the stream => index in the parts laid end to end.

    Args:
        sizes: samples of each part.
        counts: samples of each part in a period.
        seed: of the run.
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int], seed: int) -> None:
        self.counts = counts
        places = sorted(((j + 0.5) / count, part) for part, count in enumerate(counts) for j in range(count))
        self._pattern = [part for _, part in places]
        seen: Counter[int] = Counter()
        self._earlier = []  # samples of the same part before this place of the pattern
        for part in self._pattern:
            self._earlier.append(seen[part])
            seen[part] += 1
        self._starts = [0, *accumulate(sizes)]
        self._orders = [Shuffled(size, sample_seed(seed, part)) for part, size in enumerate(sizes)]

    def __call__(self, number: int) -> int:
        """Index of sample `number` of the stream."""
        period, place = divmod(number, len(self._pattern))
        part = self._pattern[place]
        return self._starts[part] + self._orders[part](period * self.counts[part] + self._earlier[place])


class Mixture(Dataset):
    """Parts of one kind, whose samples have the same fields and shapes; a batch says of which part each sample is.

    Args:
        parts: name => node of a data set with its `weight`, relative to the others'; null leaves a part out. The first
            part leads: scales of states and actions, where the data have any, are its own.
    """

    def __init__(self, parts: Mapping[str, Mapping | None]) -> None:
        nodes = {name: node for name, node in parts.items() if node is not None}
        for name, node in nodes.items():
            if not isinstance(node, Mapping):
                raise UserError(f"parts.{name}: {node!r}; wanted a data set with its weight, or null to leave it out.")
        self.counts = dict(
            zip(nodes, count_shares({name: node.get("weight") for name, node in nodes.items()}), strict=True)
        )
        self.parts = {
            name: instantiate_from_config(
                {key: value for key, value in node.items() if key != "weight"}, f"parts.{name}"
            )
            for name, node in nodes.items()
        }
        self._ends = list(accumulate(len(part) for part in self.parts.values()))
        self._check()

    def _check(self) -> None:
        """Refuse parts whose samples do not go into one batch."""
        (lead, fields), *others = ((name, describe_fields(part[0])) for name, part in self.parts.items())
        for name, found in others:
            differing = sorted(key for key in fields.keys() | found.keys() if fields.get(key) != found.get(key))
            if differing:
                key = differing[0]
                raise UserError(
                    f"the parts {lead} and {name} do not go into one batch: {key} is {fields.get(key, 'absent')} in "
                    f"{lead}, {found.get(key, 'absent')} in {name}; prepare them alike, or leave one out "
                    f"(...parts.{name}=null)."
                )

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | tuple[int, ...]) -> dict:
        """Sample by index, or by (index, seed, ...) as the training stream asks, with the number of its `part`."""
        index, seed, *rest = key if isinstance(key, tuple) else (key, key)
        number = bisect.bisect_right(self._ends, index)
        part = list(self.parts.values())[number]
        return part[index - (self._ends[number] - len(part)), seed, *rest] | {"part": number}

    def collate(self, samples: list[dict]) -> dict:
        """The parts' own batch, and `part`, (B,) int64."""
        batch = getattr(self.lead, "collate", collate)(samples)
        return batch | {"part": torch.tensor([sample["part"] for sample in samples])}

    def make_order(self, seed: int) -> Callable[[int], int]:
        """The stream's order for a run of this seed."""
        return MixedOrder([len(part) for part in self.parts.values()], list(self.counts.values()), seed)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each part in what trains; they add up to 1."""
        return {name: count / PERIOD for name, count in self.counts.items()}

    @property
    def lead(self) -> Dataset:
        """The first part."""
        return next(iter(self.parts.values()))

    @property
    def statistics(self) -> Statistics:
        """Scales of states and actions of the first part."""
        return self.lead.statistics

    def object_scales(self) -> tuple[Tensor, Tensor]:
        """Scales of where the objects of the first part are."""
        return self.lead.object_scales()

    @property
    def pairs(self) -> list:
        """Frame pairs of all parts that have them."""
        return [pair for part in self.parts.values() for pair in getattr(part, "pairs", ())]

    @property
    def pair_ids(self) -> list[str]:
        """What decides the stream: each part's name, share and size, then the names of its pairs, where it has any."""
        return [
            line
            for name, part in self.parts.items()
            for line in (f"{name} {self.counts[name]} {len(part)}", *getattr(part, "pair_ids", ()))
        ]


def count_shares(weights: Mapping[str, float | None]) -> list[int]:
    """Samples of each part in a period, in proportion to the weights, by largest remainders; they add up to PERIOD.

    Raises:
        UserError: if there is no part, or a weight is no number above 0 or a share below a thousandth.
    """
    if not weights:
        raise UserError("parts: there is none; give at least one data set with its weight.")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise UserError(f"parts.{name}.weight: {weight!r}; wanted a number above 0, relative to the other parts'.")
    exact = {name: PERIOD * weight / sum(weights.values()) for name, weight in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: PERIOD - sum(counts.values())]:
        counts[name] += 1
    for name, count in counts.items():
        if not count:
            raise UserError(f"parts.{name}.weight: {weights[name]} is less than 1/{PERIOD} of all; leave the part out.")
    return list(counts.values())


def describe_fields(sample: Mapping, prefix: str = "") -> dict[str, str]:
    """Field of a sample => shape and type, fields inside of fields by dots; what has no shape by its type alone."""
    found: dict[str, str] = {}
    for key, value in sample.items():
        if isinstance(value, Mapping):
            found |= describe_fields(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            found[prefix + key] = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        else:
            found[prefix + key] = type(value).__name__
    return found
