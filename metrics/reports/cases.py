"""Best, median and worst predictions of a scored run, with their pictures.

table.json says where the true frames and the predictions lie; the pictures are read from there again.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from formats.prepared_folder import FramePair, data_root
from metrics.comparison.pairs import group_by_task, read_pairs
from metrics.comparison.predictions import Predictions, match_predictions
from metrics.comparison.resizing import check_size
from metrics.comparison.scoring import Scorer
from metrics.comparison.table_formats import SCORE_AGAIN
from metrics.reports.runs import Results

KINDS = ("best", "median", "worst")


@dataclass(frozen=True)
class Case:
    """One prediction beside input and truth, uint8 (H, W, 3)."""

    kind: str
    entry: dict  # its line of pairs.jsonl
    source: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """Opens the pictures of scored pairs."""

    scorer: Scorer
    systems: dict[str, Predictions]
    pairs: dict[str, FramePair]

    def read_frames(self, pair_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Current and true frame."""
        return self.scorer.read_frames(self.pairs[pair_id])

    def read_prediction(self, row: str, pair_id: str) -> np.ndarray | None:
        """A system's frame; None where it has none."""
        source, _ = self.read_frames(pair_id)
        return self.scorer.predict_frame(self.systems[row], self.pairs[pair_id], source)


def open_pictures(results: Results) -> Pictures:
    """Find the folders that a table was made of.

    Raises:
        MissingFileError: if they are no longer where table.json says.
        UserError: if they hold other pairs now.
    """
    provenance = results.table.provenance
    if "data" not in provenance:
        raise UserError(f"{results.folder / 'table.json'} does not say of which data it is; {SCORE_AGAIN}.")
    folder = data_root(Path(provenance["data"]))
    pairs = {pair.pair_id: pair for pair in read_pairs(folder)}
    gone = next((entry["pair_id"] for entry in results.pairs if entry["pair_id"] not in pairs), None)
    if gone is not None:
        raise UserError(f"{folder} no longer has pair {gone}, which was scored; run metrics.compute_metrics again.")
    match = Path(provenance["match"]) if provenance.get("match") else None
    systems = {
        name: match_predictions(Path(system.get("folder", "")), pairs.values(), name, match)
        for name, system in provenance.get("systems", {}).items()
    }
    scorer = Scorer(folder, tuple(systems.values()), group_by_task, (), (), check_size(provenance.get("size")))
    return Pictures(scorer, systems, pairs)


def choose_cases(results: Results, row: str, group: str) -> dict[str, dict]:
    """Lines of pairs.jsonl that are best, median and worst in PSNR; fewer for fewer than three pairs."""
    values = [(float(entry.get("psnr", "nan")), entry) for entry in results.entries(row, group)]  # nan stands as text
    known = [(psnr, entry) for psnr, entry in values if not math.isnan(psnr)]
    ordered = [entry for _, entry in sorted(known, key=lambda each: (-each[0], each[1]["pair_id"]))]
    if not ordered:
        return {}
    chosen = {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}
    unique = {entry["pair_id"]: kind for kind, entry in reversed(chosen.items())}
    return {kind: chosen[kind] for kind in KINDS if unique.get(chosen[kind]["pair_id"]) == kind}


def find_cases(results: Results, pictures: Pictures, row: str, group: str) -> list[Case]:
    """The chosen cases with their pictures."""
    cases = []
    for kind, entry in choose_cases(results, row, group).items():
        source, truth = pictures.read_frames(entry["pair_id"])
        prediction = pictures.read_prediction(row, entry["pair_id"])
        if prediction is not None:
            cases.append(Case(kind, entry, source, prediction, truth))
    return cases


def find_consecutive(results: Results, row: str, count: int = 3) -> list[dict]:
    """Lines of `count` pairs of one episode whose source frames follow each other, at one horizon; or []."""
    series: dict[tuple, dict[int, dict]] = {}
    for entry in results.entries(row):
        if None not in (entry["source_index"], entry["target_index"]):
            key = (entry["group"], str(entry["episode"]), entry["target_index"] - entry["source_index"])
            series.setdefault(key, {})[entry["source_index"]] = entry
    for key in sorted(series):
        frames = series[key]
        for first in sorted(frames):
            if all(first + i in frames for i in range(count)):
                return [frames[first + i] for i in range(count)]
    return []
