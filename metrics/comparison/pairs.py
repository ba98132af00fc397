"""The pairs to be measured and the groups that a table has rows for.

A prepared folder knows task and episode of each pair; an InstructPix2Pix data set does by an index.csv.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from commands.errors import UserError
from formats.prepared_folder import FramePair, data_root, read_indexed


def group_by_task(pair: FramePair) -> str:
    """Task of a pair; its instruction where the task is unknown."""
    return pair.task or pair.instruction


def group_by_step(pair: FramePair) -> str:
    """Task and frame numbers, "block_handover 50->100": for data whose pairs lie at a few fixed steps."""
    if pair.horizon is None:
        raise UserError(f"pair {pair.pair_id} has no frame numbers; use --group task.")
    return f"{group_by_task(pair)} {pair.source_index}->{pair.target_index}"


def group_by_instruction(pair: FramePair) -> str:
    """Sentence of a pair: for data whose sentences say more than the task, such as the camera."""
    return pair.instruction


Grouping = Callable[[FramePair], str]
GROUPINGS: dict[str, Grouping] = {"task": group_by_task, "step": group_by_step, "instruction": group_by_instruction}


def episode_of(pair: FramePair) -> tuple:
    """What the bootstrap resamples: the episode, or the pair itself where no episode is known."""
    return (group_by_task(pair), pair.pair_id if pair.episode is None else pair.episode)


def parse_episodes(text: str | None) -> range | None:
    """ "64-79" => range(64, 80), both ends included; "7" => one episode; None => None."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise UserError(f"--episodes wants two numbers such as 64-79, got '{text}'.") from error


@dataclass(frozen=True)
class PairSelection:
    """Pairs of a prepared folder that belong to a split and to some episodes; None takes all."""

    folder: Path
    split: str | None = None
    episodes: range | None = None

    @property
    def root(self) -> Path:
        """Folder that holds the samples."""
        return data_root(self.folder)

    @property
    def episodes_text(self) -> str | None:
        """ "64-79", both ends included."""
        return None if self.episodes is None else f"{self.episodes.start}-{self.episodes.stop - 1}"

    def read(self) -> list[FramePair]:
        """The pairs; raises as `read_pairs`."""
        return read_pairs(self.folder, self.split, self.episodes)


def read_pairs(folder: Path, split: str | None = None, episodes: range | None = None) -> list[FramePair]:
    """Pairs of a prepared folder or of an InstructPix2Pix data set, with what an index.csv adds.

    Args:
        folder: prepared folder, or the folder that holds it as `pairs`.
        split: train, val or test; None takes all.
        episodes: numbers to keep; None takes all.

    Raises:
        MissingFileError: if there are no pairs.
        UserError: if the split or the episodes hold none, a line of the index is wrong, or an id stands twice.
    """
    pairs = read_indexed(folder, split)
    if episodes is None:
        return pairs
    chosen = [pair for pair in pairs if pair.episode in episodes]
    if not chosen:
        known = sorted({pair.episode for pair in pairs if pair.episode is not None})
        has = f"its episodes are {known[0]}-{known[-1]}" if known else "its episodes are unknown"
        raise UserError(
            f"{data_root(folder)} has no pairs of the episodes {episodes.start}-{episodes.stop - 1}: {has}."
        )
    return chosen
