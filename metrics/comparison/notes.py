"""The sentences under a table, without which its numbers cannot be judged, and its provenance."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from formats.atomic import read_json
from formats.predictions_folder import BENCHMARK
from formats.prepared_folder import FramePair
from metrics.comparison.pairs import episode_of
from metrics.comparison.predictions import Predictions
from metrics.comparison.resizing import describe_resizing
from metrics.comparison.rows import COPY, UPPER_BOUND
from metrics.comparison.scoring import PairScore
from metrics.comparison.table import mean_of_scores
from metrics.measures.columns import MEASURES
from metrics.measures.motion import MOTION_THRESHOLD
from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.measures.ssim import MIN_MULTISCALE

MAX_LISTED = 5  # names of missing or unmatched pictures in a sentence; table.json has all


def note_size(folder: Path, pairs: Iterable[FramePair], systems: Iterable[Predictions], size: int | None) -> str:
    """Size of the comparison, and how the pictures were resized to it."""
    how = "the pictures' own size"
    if size:
        done = {"frames": describe_resizing((path for pair in pairs for path in pair.paths(folder)), size)}
        done |= {system.name: describe_resizing(system.files.values(), size) for system in systems}
        same = len(set(done.values())) == 1
        said = done["frames"] if same else "; ".join(f"{name}: {resizing}" for name, resizing in done.items())
        how = f"{size}x{size} ({said})"
    return f"Compared at {how}; n pairs; brackets: 95% interval of the mean, resampling episodes."


def note_measures(columns: Sequence[str], size: int | None) -> list[str]:
    """Meaning of the columns whose headings do not tell it."""
    notes = []
    if any(key.endswith("_motion") or key in ("copyness", "sharpness") for key in columns):
        notes.append(
            f"In motion: where any channel of the truth differs from the input by more than {MOTION_THRESHOLD} of 255."
        )
    if "sharpness" in columns:
        notes.append(
            "Sharpness: gradient energy in motion over that of the truth; 1 is as sharp, a blur is below, noise above."
        )
    if any(key.endswith("_as_published") for key in columns):
        notes.append(
            "As published: pictures in [0, 1] scored with data_range 255, as papers of this field did; it adds "
            f"{AS_PUBLISHED_GAIN:.2f} dB to any PSNR and lifts any SSIM towards 1."
        )
    if "ms_ssim" in columns and size and size < MIN_MULTISCALE:
        notes.append(f"MS-SSIM is not defined below {MIN_MULTISCALE}x{MIN_MULTISCALE}.")
    if "block_error" in columns:
        notes.append(
            "Block error: pixels between centroids of blocks that both pictures show; see the share of blocks lost."
        )
    return notes


def note_pairs(pairs: Sequence[FramePair], training: Sequence[FramePair] | None, *, has_means: bool) -> list[str]:
    """Horizon, absent baselines, and where training and test data are not apart."""
    notes = []
    if training is None:
        omitted = "the nearest training input" if has_means else "the two training baselines"
        notes.append(f"Without --train-data the table omits {omitted}.")
    leaked = len({episode_of(pair) for pair in pairs} & {episode_of(pair) for pair in training or ()})
    if leaked:
        notes.append(f"LEAK: {leaked} of the episodes are also in the training data; the training rows look them up.")
    if any(pair.split_rule == "leaky" for pair in [*pairs, *(training or ())]):
        notes.append(
            "LEAKY split: by pair, so frames of one episode are in training and test; not comparable with others."
        )
    horizons = sorted({pair.horizon for pair in pairs if pair.horizon is not None})
    if horizons:
        ahead = f"{horizons[0]}" if len(horizons) == 1 else f"{horizons[0]} to {horizons[-1]}"
        notes.append(f"The truth is {ahead} frames ahead of the input.")
    if any(pair.episode is None for pair in pairs):
        notes.append("Episodes are unknown (no index.jsonl or index.csv): intervals resample pairs and are too narrow.")
    return notes


def note_matching(system: Predictions, scores: Sequence[PairScore], columns: Sequence[str]) -> list[str]:
    """Missing and unmatched pictures of a system; what copying the input scores on the pairs that it predicts."""
    notes = []
    if system.missing:
        count = len(system.files)
        same = [score for score in scores if score.row == COPY and score.pair_id in system.files]
        known = ((MEASURES[key], mean_of_scores(same, key)) for key in columns if same and key in same[0].values)
        copied = ", ".join(f"{measure.title} {mean:.{measure.digits}f}" for measure, mean in known)
        notes.append(
            f"{system.name}: {count} pairs scored, {len(system.missing)} have no picture: {_shorten(system.missing)}."
        )
        notes.append(
            f"{system.name} has other pairs than the complete rows, so it is never marked as the best; on its {count} "
            f"pairs {COPY} scores {copied}."
        )
    if system.unmatched:
        notes.append(f"{system.name}: {len(system.unmatched)} pictures match no pair: {_shorten(system.unmatched)}.")
    if system.kind == UPPER_BOUND:
        notes.append(
            f"{system.name}: the true frames, encoded and decoded by a first stage; no better can be asked of a "
            "prediction in its latents."
        )
    return notes


def note_remarks(scores: Iterable[PairScore]) -> list[str]:
    """Unusual pictures by row: "model: 481 of 481 pictures: uint8 wrap-around"."""
    totals: Counter[str] = Counter()
    remarks: Counter[tuple[str, str]] = Counter()
    for score in scores:
        totals[score.row] += 1
        remarks.update((score.row, remark) for remark in score.remarks)
    return [f"{row}: {count} of {totals[row]} pictures: {remark}." for (row, remark), count in sorted(remarks.items())]


def _shorten(names: Sequence[str]) -> str:
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def describe_systems(systems: Iterable[Predictions]) -> dict:
    """Folders, missing and unmatched pictures, what all lines of predictions.jsonl agree on, and benchmark.json."""
    return {
        system.name: {
            "folder": str(system.folder),
            "kind": system.kind,
            "missing": list(system.missing),
            "unmatched": list(system.unmatched),
            "settings": _common_settings(list(system.records.values())),
            "benchmark": read_json(system.folder / BENCHMARK) if (system.folder / BENCHMARK).is_file() else {},
        }
        for system in systems
    }


def _common_settings(records: list[dict]) -> dict:
    first = records[0] if records else {}
    return {key: value for key, value in first.items() if all(entry.get(key) == value for entry in records)}
