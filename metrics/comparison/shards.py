"""Scores of one part of the pairs as a file, and the whole of such files: a measurement on several machines.

<output>/shards/<i>-of-<n>.jsonl   a line for each row and pair: values in full precision, and what they depend on
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from commands.errors import MissingFileError, UserError
from formats.atomic import read_jsonl, write_jsonl
from formats.prepared_folder import FramePair
from metrics.comparison.parallel import identify_results
from metrics.comparison.scoring import Candidate, PairScore, Scorer

SHARDS = "shards"


@dataclass(frozen=True)
class _Line:
    """One score on disk."""

    row: str
    pair_id: str
    identity: str  # hash of pictures, sentence and size: see parallel.identify_results
    values: dict[str, float | None]  # None is not a number; empty where the row predicts nothing for the pair
    remarks: tuple[str, ...]


def write_shard(
    folder: Path, shard: tuple[int, int], scorer: Scorer, pairs: Sequence[FramePair], scores: Sequence[PairScore]
) -> Path:
    """Write the scores of the pairs of share i of n, and return the file."""
    by_place = {(score.row, score.pair_id): score for score in scores}
    lines = []
    for pair, candidate, identity in _places(scorer, pairs):
        score = by_place.get((candidate.name, pair.pair_id))
        values = {} if score is None else score.values
        line = _Line(
            candidate.name,
            pair.pair_id,
            identity,
            {key: None if math.isnan(value) else float(value) for key, value in values.items()},
            () if score is None else score.remarks,
        )
        lines.append(asdict(line))
    path = folder / SHARDS / f"{shard[0]}-of-{shard[1]}.jsonl"
    write_jsonl(path, lines)
    return path


def read_shards(folder: Path, scorer: Scorer, pairs: Sequence[FramePair]) -> list[PairScore]:
    """The scores of all shares, in the order in which one process gives them.

    Raises:
        MissingFileError: if a share is not there.
        UserError: if there are shares of several divisions, or of other pictures or measures than now.
    """
    lines = [line for path in _find_shards(folder) for line in read_jsonl(path, _Line, mend="measure the share again")]
    found = {(line.row, line.pair_id): line for line in lines}
    scores = []
    for pair, candidate, identity in _places(scorer, pairs):
        line = found.get((candidate.name, pair.pair_id))
        stale = line is None or line.identity != identity
        if stale or (line.values and set(line.values) != set(scorer.keys)):
            raise UserError(
                f"{folder / SHARDS}: '{candidate.name}' of {pair.pair_id} was measured on other pictures, with other "
                "measures, or not at all; run each --shard again, with the options of --merge."
            )
        if line.values:
            values = {key: math.nan if line.values[key] is None else line.values[key] for key in scorer.keys}
            scores.append(scorer.make_score(candidate, pair, values, line.remarks))
    return scores


def _places(scorer: Scorer, pairs: Sequence[FramePair]) -> Iterator[tuple[FramePair, Candidate, str]]:
    """Pairs, the rows that may predict them, and what identifies the result."""
    return ((pair, *place) for pair in pairs for place in identify_results(scorer, pair))


def _find_shards(folder: Path) -> list[Path]:
    there = {path.name: path for path in (folder / SHARDS).glob("*-of-*.jsonl")}
    counts = sorted({name.removesuffix(".jsonl").partition("-of-")[2] for name in there})
    if len(counts) != 1 or not counts[0].isdecimal():
        what = f"shares of {' and of '.join(counts)}" if counts else "no shares"
        raise MissingFileError(
            f"{folder / SHARDS} holds {what}; delete it, and run the command with --shard 0/2 and 1/2 before --merge."
        )
    names = [f"{i}-of-{counts[0]}.jsonl" for i in range(int(counts[0]))]
    absent = next((i for i, name in enumerate(names) if name not in there), None)
    if absent is not None:
        raise MissingFileError(f"{folder / SHARDS / names[absent]} is absent: run --shard {absent}/{counts[0]} first.")
    return [there[name] for name in names]
