"""Where grippers and objects are in the target frames of prepared pairs: <folder>/positions.jsonl, one line a pair.

    {"pair_id": "block_handover/7/0-20", "target": {"left_gripper": [-0.31, -0.2, 0.94], ..., "block": [...]}}

Metres in the frame of the recording (x right, y away from the robot, z up). Written by dataset_tools.prepare_dataset
where the recordings have end poses or object poses; it stands beside index.jsonl, which stays as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import MissingFileError
from formats.atomic import read_jsonl, write_jsonl

POSITIONS = "positions.jsonl"
GRIPPERS = ("left_gripper", "right_gripper")
DIGITS = 5  # after the point: hundredths of a millimetre
Point = tuple[float, float, float]
MEND = "prepare the folder again"


@dataclass(frozen=True)
class PairPositions:
    """One line of positions.jsonl; types are checked on reading."""

    pair_id: str
    target: dict[str, Point]


def name_positions(endposes: np.ndarray | None, objects: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Positions (T, 3) by name, of GRIPPERS and objects.

    Args:
        endposes: (T, 2, 7) left and right tool; None where the source has none.
        objects: poses (T, 7) by name.
    """
    grippers = {} if endposes is None else {name: endposes[:, i, :3] for i, name in enumerate(GRIPPERS)}
    return grippers | {name: poses[:, :3] for name, poses in objects.items()}


def positions_at(positions: Mapping[str, np.ndarray], t: int) -> dict[str, list[float]]:
    """Positions by name at frame t, rounded to DIGITS, for JSON."""
    return {name: [round(float(value), DIGITS) for value in rows[t]] for name, rows in positions.items()}


def write_positions(folder: Path, target: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Write positions.jsonl from the target positions by pair id."""
    write_jsonl(Path(folder) / POSITIONS, ({"pair_id": name, "target": found} for name, found in target.items()))


def read_positions(folder: Path) -> dict[str, dict[str, Point]]:
    """Target positions by pair id.

    Raises:
        MissingFileError: if the folder has no positions.jsonl.
        UserError: if the file is damaged.
    """
    path = Path(folder) / POSITIONS
    if not path.is_file():
        raise MissingFileError(
            f"{folder} has no {POSITIONS}: prepare it again, into a new folder, from recordings that know where "
            "grippers and objects are (hdf5 of the simulator or of RoboTwin 2.0)."
        )
    return {line.pair_id: line.target for line in read_jsonl(path, PairPositions, mend=MEND)}
