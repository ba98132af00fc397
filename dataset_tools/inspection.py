"""What is in prepared folders: counts, horizons, motion, duplicates, leaks. Reads files, draws nothing.

A leak is an episode, told by task and number, that is trained on and tested on. It is looked for across all the
folders given, because RoboTwin episode numbers are seeds: the same task and number in two people's data sets is the
same scene (measured on 300 of 300 episodes of two sets).
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from formats.atomic import read_file
from formats.pictures import read_picture
from formats.prepared_folder import FramePair, read_manifest

MOTION_SAMPLE = 1000  # pairs a folder that motion is measured on, evenly spread
HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class TaskSummary:
    """One task of one prepared folder."""

    task: str
    pairs: dict[str, int]  # split => number of pairs
    episodes: dict[str, int]  # split => number of episodes; empty where unknown
    horizons: tuple[int, ...]  # frames, distinct, rising
    seconds: tuple[float, ...]  # the same in seconds, where the rate is known
    instructions: tuple[str, ...]  # distinct


@dataclass(frozen=True)
class Inspection:
    """What one prepared folder holds."""

    folder: Path
    pairs: tuple[FramePair, ...]
    tasks: tuple[TaskSummary, ...]
    motion: np.ndarray  # (M,) mean |target - source| of a sample of pairs, in 0..255
    static: int  # pairs whose two pictures are the same bytes
    repeated: int  # source pictures that belong to more than one episode


@dataclass(frozen=True)
class Leak:
    """An episode that is trained on in one place and held out in another."""

    task: str
    episode: int
    trained_in: tuple[str, ...]  # folders
    held_out_in: tuple[str, ...]


def inspect_folder(folder: Path) -> Inspection:
    """Counts, horizons, motion and duplicates of a prepared folder.

    Raises:
        FileNotFoundError, ValueError: as read_manifest does.
    """
    pairs = read_manifest(folder)
    by_task: dict[str, list[FramePair]] = defaultdict(list)
    for pair in pairs:
        by_task[pair.task or "unknown"].append(pair)
    tasks = tuple(_summarise(task, members) for task, members in sorted(by_task.items()))
    static, repeated = count_duplicates(folder, pairs)
    return Inspection(Path(folder), tuple(pairs), tasks, measure_motions(folder, pairs), static, repeated)


def find_leaks(inspections: Sequence[Inspection]) -> list[Leak]:
    """Episodes that are trained on in one of the folders and held out in the same or another."""
    places: dict[tuple[str, int], dict[bool, set[str]]] = defaultdict(lambda: {True: set(), False: set()})
    for inspection in inspections:
        for pair in inspection.pairs:
            if pair.task is not None and pair.episode is not None and pair.split is not None:
                places[pair.task, pair.episode][pair.split in HELD_OUT].add(str(inspection.folder))
    return [
        Leak(task, episode, tuple(sorted(where[False])), tuple(sorted(where[True])))
        for (task, episode), where in sorted(places.items())
        if where[True] and where[False]
    ]


def measure_motions(folder: Path, pairs: Sequence[FramePair]) -> np.ndarray:
    """Mean |target - source| of an evenly spread sample of pairs, (M,) in 0..255."""
    chosen = spread(pairs, MOTION_SAMPLE)
    motions = []
    for pair in chosen:
        source, target = (read_picture(path).pixels.astype(np.int16) for path in picture_paths(folder, pair))
        motions.append(np.abs(target - source).mean() if source.shape == target.shape else np.nan)
    return np.array(motions)


def count_duplicates(folder: Path, pairs: Sequence[FramePair]) -> tuple[int, int]:
    """Pairs whose pictures are the same bytes, and source pictures that two episodes share."""
    static = 0
    owners: dict[bytes, set[tuple[str | None, int | None]]] = defaultdict(set)
    for pair in pairs:
        source, target = (hashlib.sha256(read_file(path)).digest() for path in picture_paths(folder, pair))
        static += source == target
        owners[source].add((pair.task, pair.episode))
    return static, sum(len(who) > 1 for who in owners.values())


def picture_paths(folder: Path, pair: FramePair) -> tuple[Path, Path]:
    """Current and future picture of a pair."""
    return pair.source_path(folder), pair.target_path(folder)


def spread(items: Sequence, count: int) -> list:
    """At most `count` items, evenly spread, the first and the last included."""
    if len(items) <= count:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]


def _summarise(task: str, pairs: Sequence[FramePair]) -> TaskSummary:
    counts: dict[str, int] = defaultdict(int)
    episodes: dict[str, set[int]] = defaultdict(set)
    for pair in pairs:
        counts[pair.split or "none"] += 1
        if pair.episode is not None:
            episodes[pair.split or "none"].add(pair.episode)
    return TaskSummary(
        task=task,
        pairs=dict(counts),
        episodes={split: len(numbers) for split, numbers in episodes.items()},
        horizons=tuple(sorted({pair.horizon for pair in pairs if pair.horizon is not None})),
        seconds=tuple(sorted({round(pair.horizon_seconds, 2) for pair in pairs if pair.horizon_seconds is not None})),
        instructions=tuple(sorted({pair.instruction for pair in pairs})),
    )
