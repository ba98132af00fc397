"""The sentences under a table: without them its numbers cannot be judged."""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Sequence

from formats.prepared_folder import FramePair
from metrics.comparison.baselines import is_upper_bound
from metrics.comparison.pairs import episode_of
from metrics.comparison.predictions import Predictions
from metrics.comparison.scoring import PairScore
from metrics.measures.convention import AS_PUBLISHED_GAIN
from metrics.measures.motion import MOTION_THRESHOLD
from metrics.measures.multiscale import MIN_SIZE

MAX_LISTED = 5  # names of missing or unmatched pictures in a sentence; table.json has all


def note_comparison(
    options: Namespace,
    keys: Sequence[str],
    pairs: list[FramePair],
    train_pairs: list[FramePair] | None,
    systems: Sequence[Predictions],
) -> list[str]:
    """How it was measured, on what, and what is missing."""
    size = f"{options.size}x{options.size} (area average)" if options.size else "the pictures' own size"
    notes = [f"Compared at {size}; n pairs; brackets: 95% interval of the mean, resampling episodes."]
    notes += _note_measures(options, keys)
    notes += _note_training(options, pairs, train_pairs)
    notes += _note_split(pairs, train_pairs)
    if any(pair.episode is None for pair in pairs):
        notes.append("Episodes are unknown (no index.jsonl or index.csv): intervals resample pairs and are too narrow.")
    for system in systems:
        notes += _note_matching(system)
        if is_upper_bound(system.name):
            notes.append(
                f"{system.name}: the true frames, encoded and decoded by a first stage; no better can be asked of a "
                "prediction in its latents."
            )
    return notes


def note_remarks(scores: Iterable[PairScore]) -> list[str]:
    """What is unusual about the pictures of a row: "model: 481 of 481 pictures: uint8 wrap-around"."""
    totals: Counter[str] = Counter()
    remarks: Counter[tuple[str, str]] = Counter()
    for score in scores:
        totals[score.row] += 1
        remarks.update((score.row, remark) for remark in score.remarks)
    return [f"{row}: {count} of {totals[row]} pictures: {remark}." for (row, remark), count in sorted(remarks.items())]


def _note_split(pairs: list[FramePair], train_pairs: list[FramePair] | None) -> list[str]:
    """A warning where near-twins of the scored pairs may have been trained on."""
    if any(pair.split_rule == "leaky" for pair in [*pairs, *(train_pairs or ())]):
        return ["LEAKY split: by pair, so frames of one episode are in training and test; not comparable with others."]
    return []


def _note_measures(options: Namespace, keys: Sequence[str]) -> list[str]:
    notes = []
    if any(key.endswith("_motion") or key == "copyness" for key in keys):
        notes.append(
            f"In motion: where any channel of the truth differs from the input by more than {MOTION_THRESHOLD} of 255."
        )
    if any(key.endswith("_as_published") for key in keys):
        notes.append(
            "As published: pictures in [0, 1] scored with data_range 255, as papers of this field did; it adds "
            f"{AS_PUBLISHED_GAIN:.2f} dB to any PSNR and lifts any SSIM towards 1."
        )
    if "ms_ssim" in keys and options.size and options.size < MIN_SIZE:
        notes.append(f"MS-SSIM is not defined below {MIN_SIZE}x{MIN_SIZE}.")
    if "block_error" in keys:
        notes.append(
            "Block error: pixels between centroids of blocks that both pictures show; see the share of blocks lost."
        )
    return notes


def _note_training(options: Namespace, pairs: list[FramePair], train_pairs: list[FramePair] | None) -> list[str]:
    if train_pairs is None:
        omitted = "the nearest training input" if options.train_means else "the two training baselines"
        return [f"Without --train-data the table omits {omitted}."]
    leaked = len({episode_of(pair) for pair in pairs} & {episode_of(pair) for pair in train_pairs})
    if leaked:
        return [f"LEAK: {leaked} of the episodes are also in the training data; the training rows look them up."]
    return []


def _note_matching(system: Predictions) -> list[str]:
    notes = []
    if system.missing:
        notes.append(
            f"{system.name}: {len(system.files)} pairs scored, {len(system.missing)} have no picture: "
            f"{_shorten(system.missing)}."
        )
    if system.unmatched:
        notes.append(f"{system.name}: {len(system.unmatched)} pictures match no pair: {_shorten(system.unmatched)}.")
    return notes


def _shorten(names: Sequence[str]) -> str:
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
