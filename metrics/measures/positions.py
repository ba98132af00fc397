"""Centimetres: how far the grippers and the objects of a picture are from where they truly were.

A probe (probe_network.py) looks at the picture of a row and says where things are; the truth comes from the recording.
The row of the true frames says how well the probe itself sees: no row can be told from the truth below that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from commands.errors import UserError
from formats.hashing import sha256_of_file
from formats.positions import GRIPPERS, POSITIONS, Point, read_positions
from formats.prepared_folder import FramePair
from metrics.measures.columns import MEASURES, POSITION_KEYS
from metrics.measures.probe_network import CENTIMETRES, PositionProbe, ProbeOrigin, has_number, load_probe

GRIPPER, BLOCK = "gripper_error_cm", "block_error_cm"


@dataclass(frozen=True)
class PositionMeter:
    """Measures with a probe; see metrics.measures.networks.Meter.

    Args:
        path: the probe's file.
        positions: target positions in metres by name, by pair id.
        keys: of GRIPPER and BLOCK, those that the probe and the pairs know.
        version: digest of the probe and of the folder's positions.
    """

    path: Path
    positions: dict[str, dict[str, Point]]
    keys: tuple[str, ...]
    version: str

    def __reduce__(self) -> tuple:
        """Another process reads the network itself."""
        return type(self), (self.path, self.positions, self.keys, self.version)

    @cached_property
    def probe(self) -> PositionProbe:
        """The network."""
        return load_probe(self.path)[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are made of the keys."""
        return tuple(key for key in POSITION_KEYS if MEASURES[key].value_key in self.keys)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the columns mean, and which probe measured."""
        floor = load_probe(self.path)[1].floor_cm
        said = ", ".join(f"{name} {median:.2f}" for name, (median, _) in floor.items())
        return (
            "Gripper error, block error: cm in space between where the probe sees them in a row's picture and where "
            "they were; median and 90th percentile over pairs of the mean over both grippers, or over what can move.",
            f"Probe: {self.path.name}, SHA-256 {sha256_of_file(self.path)[:16]}; its own median error on unseen true "
            f"frames of its data, cm: {said}. The row of the truth says what it is on these pairs.",
        )

    def measure(self, pair: FramePair, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Mean distance in cm over both grippers, and over the pair's objects; nan where it has none."""
        seen, known = self.probe.read_positions(prediction), self.positions[pair.pair_id]
        errors: dict[str, list[float]] = {GRIPPER: [], BLOCK: []}
        for name, place in known.items():
            if name in seen:
                errors[GRIPPER if name in GRIPPERS else BLOCK].append(CENTIMETRES * math.dist(seen[name], place))
        return {key: float(np.mean(errors[key])) if errors[key] else math.nan for key in self.keys}


def make_position_meter(path: Path, folder: Path, pairs: Sequence[FramePair]) -> PositionMeter:
    """The meter of a probe for some pairs.

    Raises:
        UserError: if the positions of a pair are unknown, the probe learned from episodes that are to be measured, or
            it knows none of the objects of a pair while it knows others.
    """
    probe, origin = load_probe(path)
    known = read_positions(folder)
    missing = [pair.pair_id for pair in pairs if pair.pair_id not in known]
    if missing:
        raise UserError(
            f"{folder} does not say where things are in {len(missing)} of {len(pairs)} pairs, such as {missing[0]}: "
            "prepare pairs of episodes that know it apart."
        )
    _check_unseen(path, origin, pairs)
    positions = {pair.pair_id: known[pair.pair_id] for pair in pairs}
    objects = set(probe.shape.names) - set(GRIPPERS)
    needed = {name for of_pair in positions.values() for name in of_pair} - set(GRIPPERS)
    if objects and not needed <= objects:
        raise UserError(
            f"{path} sees {', '.join(sorted(objects))}, not {', '.join(sorted(needed - objects))}: train a probe on "
            "episodes of these tasks."
        )
    has_grippers = all(name in of_pair for of_pair in positions.values() for name in GRIPPERS)
    keys = ((GRIPPER,) if has_grippers and set(GRIPPERS) <= set(probe.shape.names) else ()) + (
        (BLOCK,) if objects and needed else ()
    )
    if not keys:
        raise UserError(f"{path} sees {', '.join(probe.shape.names)}, and {folder} knows where none of these is.")
    digests = sha256_of_file(path), sha256_of_file(folder / POSITIONS)
    return PositionMeter(path, positions, keys, " ".join(digest[:16] for digest in digests))


def _check_unseen(path: Path, origin: ProbeOrigin, pairs: Sequence[FramePair]) -> None:
    measured = {(pair.task, pair.episode) for pair in pairs if pair.task is not None and pair.episode is not None}
    seen = sorted((task, number) for task, number in measured if has_number(origin.episodes.get(task, ""), number))
    if seen:
        task, number = seen[0]
        raise UserError(
            f"{path} learned from {len(seen)} of the {len(measured)} episodes to be measured, such as {task} {number}: "
            "it would find by heart what a prediction lacks; train a probe on other episodes."
        )
