"""From folders to a table: read, match, score, aggregate."""

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from commands.errors import UserError
from formats.prepared_folder import FramePair
from metrics.baselines import make_baselines
from metrics.comparison.baselines import RECONSTRUCTION, UPPER_BOUND, is_upper_bound
from metrics.comparison.bootstrap import Estimate
from metrics.comparison.cache import ScoreCache
from metrics.comparison.named_folder import parse_named_folder
from metrics.comparison.notes import note_comparison, note_remarks
from metrics.comparison.pairs import GROUPINGS, data_root, parse_episodes, read_pairs
from metrics.comparison.parallel import score_all
from metrics.comparison.predictions import Predictions, match_predictions
from metrics.comparison.provenance import describe_comparison
from metrics.comparison.scoring import Candidate, PairScore, Scorer
from metrics.comparison.table import ALL, ScoreTable, make_table
from metrics.measures.columns import PIXEL_KEYS, with_as_published
from metrics.measures.networks import Networks, find_networks

Progress = Callable[[Iterator[list[PairScore]], int], Iterable[list[PairScore]]]


@dataclass(frozen=True)
class Comparison:
    """Scores of all rows on all pairs, and the table made of them."""

    pairs: list[FramePair]
    scorer: Scorer
    scores: list[PairScore]
    table: ScoreTable


def compare(options: Namespace, cache_folder: Path | None, progress: Progress = lambda scores, _: scores) -> Comparison:
    """Do what the command line of metrics.compute_metrics says.

    Args:
        options: of `metrics.compute_metrics.parse_arguments`.
        cache_folder: where results are kept; None keeps none.
        progress: wraps the iterator of scores, given their number.

    Raises:
        FileNotFoundError, ValueError: naming what is wrong with the input and the mend.
    """
    grouping = GROUPINGS[options.group]
    folder = data_root(options.data)
    pairs = read_pairs(folder, options.split, parse_episodes(options.episodes))
    train_folder, train_pairs = _read_train(options)
    systems = _match_all(options, folder, pairs)
    baselines = make_baselines(train_folder, train_pairs, options.train_means, options.size, grouping)
    candidates: tuple[Candidate, ...] = (*baselines, *systems)
    asked = with_as_published(options.measures) if options.convention == "as_published" else options.measures
    networks = find_networks(asked, options.weights)
    keys = tuple(key for key in asked if key in PIXEL_KEYS or key in networks.keys)
    scorer = Scorer(
        folder, candidates, grouping, tuple(k for k in keys if k in PIXEL_KEYS), networks.meters, options.size
    )
    with ScoreCache(cache_folder) as cache:
        scores = [
            s for of_pair in progress(score_all(scorer, pairs, cache, options.workers), len(pairs)) for s in of_pair
        ]
    notes = [*note_comparison(options, keys, pairs, train_pairs, systems), *networks.notes, *note_remarks(scores)]
    table = make_table(
        scores,
        keys,
        [candidate.name for candidate in candidates],
        Counter(grouping(pair) for pair in pairs),
        notes,
        describe_comparison(options, systems),
        _measure_distributions(scorer, pairs, networks),
    )
    return Comparison(pairs, scorer, scores, table)


def _read_train(options: Namespace) -> tuple[Path | None, list[FramePair] | None]:
    if options.train_data is None:
        return None, None
    folder = data_root(options.train_data)
    split = None if options.train_split == "all" else options.train_split
    return folder, read_pairs(folder, split, parse_episodes(options.train_episodes))


def _match_all(options: Namespace, data: Path, pairs: list[FramePair]) -> list[Predictions]:
    others = read_pairs(data) if options.predictions else []
    systems: dict[str, Predictions] = {}
    for argument in options.predictions:
        given, path = parse_named_folder(argument)
        system = _name(match_predictions(path, pairs, None, options.match, others), given)
        if system.name in systems:
            raise UserError(
                f"two predictions folders are called '{system.name}': name them, --predictions a={path} b=..."
            )
        systems[system.name] = system
    return sorted(systems.values(), key=lambda system: not is_upper_bound(system.name))  # these beside the baselines


def _name(system: Predictions, given: str | None) -> Predictions:
    """The system under its row's name; reconstructions of the truth, by edit_cli or called so, are marked as such."""
    reconstructs = bool(system.records) and all(entry.get("reconstruction") for entry in system.records.values())
    if not reconstructs and given != RECONSTRUCTION:
        return replace(system, name=given or system.folder.resolve().name)
    return replace(system, name=f"{given or RECONSTRUCTION} {UPPER_BOUND}")


def _measure_distributions(
    scorer: Scorer, pairs: list[FramePair], networks: Networks
) -> dict[tuple[str, str], dict[str, Estimate]]:
    """FID and KID by (group, row); they have no interval."""
    if networks.features is None:
        return {}
    from metrics.measures.distribution import measure_fid, measure_kid  # noqa: PLC0415 - imports torch

    found: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for pair in pairs:
        source, truth = scorer.read_frames(pair)
        true_features = networks.features.features(truth)
        for candidate in scorer.candidates:
            frame = scorer.predict_frame(candidate, pair, source)
            if frame is not None:
                entry = (scorer.grouping(pair), networks.features.features(frame), true_features)
                found.setdefault(candidate.name, []).append(entry)
    estimates = {}
    for row, entries in found.items():
        for group in {ALL, *(name for name, _, _ in entries)}:
            members = [(f, t) for name, f, t in entries if group in (ALL, name)]
            features, true_features = (np.stack(part) for part in zip(*members, strict=True))
            values = {"fid": measure_fid(features, true_features), "kid": measure_kid(features, true_features)}
            estimates[group, row] = {
                key: Estimate(value, float("nan"), float("nan"), len(members), 0) for key, value in values.items()
            }
    return estimates


def pair_line(score: PairScore, pair: FramePair) -> str:
    """One line of pairs.jsonl; infinite and unknown values as text."""
    entry = {
        "row": score.row,
        "pair_id": score.pair_id,
        "group": score.group,
        "episode": pair.episode,
        "source_index": pair.source_index,
        "target_index": pair.target_index,
        "instruction": pair.instruction,
        "remarks": list(score.remarks),
        **{key: value if np.isfinite(value) else str(value) for key, value in score.values.items()},
    }
    return json.dumps(entry, ensure_ascii=False) + "\n"
