"""From folders to a table: read, match, score, aggregate."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from formats.prepared_folder import FramePair
from formats.provenance import read_commit
from metrics.comparison.baselines import TrainingSet, TrueFrame, make_baselines, read_training
from metrics.comparison.bootstrap import Estimate
from metrics.comparison.notes import describe_systems, note_matching, note_measures, note_pairs, note_remarks, note_size
from metrics.comparison.pairs import GROUPINGS, PairSelection
from metrics.comparison.parallel import ScoreCache, score_all
from metrics.comparison.predictions import Predictions, match_all
from metrics.comparison.resizing import check_size, read_pixels
from metrics.comparison.scoring import PairScore, Scorer
from metrics.comparison.shards import read_shards, write_shard
from metrics.comparison.table import ALL, ScoreTable, make_table
from metrics.measures.columns import AS_PUBLISHED_OF, DEFAULT_MEASURES, PIXEL_KEYS
from metrics.measures.motion import MOTION_THRESHOLD
from metrics.measures.networks import Networks, find_lpips_at_hand, find_networks

Progress = Callable[[Iterator[list[PairScore]], int], Iterable[list[PairScore]]]


@dataclass(frozen=True)
class ComparisonRequest:
    """Systems, pairs and measures of a comparison; checked when it is made.

    Args:
        data: pairs to score.
        predictions: "[name=]folder" of each system.
        match: csv that says which picture is whose; None goes by names.
        group: what a table has rows for, one of GROUPINGS.
        size: side in pixels that everything is resized to; None compares at the pictures' own size.
        measures: columns of the table, keys of MEASURES.
        lpips_at_hand: add LPIPS where the weights of a trunk are there.
        training: pairs that the training baselines learn from.
        train_means: npz file of mean pictures, instead of `training`.
        weights: folder with the weights of networks; None looks in the usual places.
        probe: file of a position probe; None leaves out its columns and the row of the truth.
        workers: processes; None takes one for each core.
        cache: folder in which results are kept; None keeps none.
        command: what the user typed, for the provenance.
        shards: folder whose shares (see `score_shard`) are put together; None measures.
    """

    data: PairSelection
    predictions: tuple[str, ...] = ()
    match: Path | None = None
    group: str = "task"
    size: int | None = None
    measures: tuple[str, ...] = DEFAULT_MEASURES
    lpips_at_hand: bool = False
    training: PairSelection | None = None
    train_means: Path | None = None
    weights: Path | None = None
    probe: Path | None = None
    workers: int | None = None
    cache: Path | None = None
    command: str = ""
    shards: Path | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: at least one process is needed.")


@dataclass(frozen=True)
class Comparison:
    """Scores of all rows on all pairs, and the table made of them."""

    pairs: list[FramePair]
    scorer: Scorer
    scores: list[PairScore]
    table: ScoreTable


@dataclass(frozen=True)
class _Setup:
    """What is measured on what, before the first picture is read."""

    pairs: list[FramePair]
    training: TrainingSet | None
    systems: list[Predictions]
    networks: Networks
    columns: tuple[str, ...]
    scorer: Scorer
    notes: Sequence[str]  # of the probe


def _set_up(request: ComparisonRequest) -> _Setup:
    grouping, folder = GROUPINGS[request.group], request.data.root
    pairs = request.data.read()
    training = read_training(request.training, request.size)
    baselines = make_baselines(training, request.train_means, grouping)
    systems = match_all(request.predictions, folder, pairs, request.match)
    keys = request.measures
    if request.lpips_at_hand:
        side = request.size or min(read_pixels(pairs[0].target_path(folder)).shape[:2])
        keys = tuple(dict.fromkeys((*keys, *find_lpips_at_hand(request.weights, side))))
    networks = find_networks(keys, request.weights)
    columns = tuple(key for key in keys if key in PIXEL_KEYS or key in networks.keys)
    measured = [key for key in columns if key in PIXEL_KEYS]
    measured += [AS_PUBLISHED_OF["ssim"]] if "ssim" in measured else []
    meters, truth, notes = list(networks.meters), [], ()
    if request.probe is not None:
        from metrics.measures.positions import make_position_meter  # noqa: PLC0415 - imports torch

        meters.append(make_position_meter(request.probe, folder, pairs))
        columns, truth, notes = (*columns, *meters[-1].columns), [TrueFrame(folder)], meters[-1].notes
    candidates = (*truth, *baselines, *systems)
    scorer = Scorer(folder, candidates, grouping, tuple(dict.fromkeys(measured)), tuple(meters), request.size)
    return _Setup(pairs, training, systems, networks, columns, scorer, notes)


def _measure(request: ComparisonRequest, scorer: Scorer, pairs: list[FramePair], progress: Progress) -> list[PairScore]:
    with ScoreCache(request.cache) as cache:
        scored = progress(score_all(scorer, pairs, cache, request.workers), len(pairs))
        return [score for of_pair in scored for score in of_pair]


def score_shard(
    request: ComparisonRequest, shard: tuple[int, int], folder: Path, progress: Progress = lambda scores, _: scores
) -> Path:
    """Score every row on share i of n of the pairs, pairs i, i + n, ..., and write them into `folder`.

    Raises:
        UserError: naming what is wrong with the input and the mend.
    """
    setup = _set_up(request)
    own = setup.pairs[shard[0] :: shard[1]]
    return write_shard(folder, shard, setup.scorer, own, _measure(request, setup.scorer, own, progress))


def compare(request: ComparisonRequest, progress: Progress = lambda scores, _: scores) -> Comparison:
    """Score every row on every pair and make the table.

    Each pair is also scored by the as-published SSIM, which costs little beside the proper one and which the papers'
    own tables need; it becomes a column only where `measures` asks for it.

    Args:
        request: what to compare.
        progress: wraps the iterator of scores, given their number.

    Raises:
        UserError: naming what is wrong with the input and the mend.
    """
    setup = _set_up(request)
    pairs, systems, networks, columns = setup.pairs, setup.systems, setup.networks, setup.columns
    scorer, grouping = setup.scorer, setup.scorer.grouping
    if request.shards is None:
        scores = _measure(request, scorer, pairs, progress)
    else:
        scores = read_shards(request.shards, scorer, pairs)
    notes = [note_size(scorer.folder, pairs, systems, request.size), *note_measures(columns, request.size)]
    learned = setup.training and setup.training.pairs
    notes += note_pairs(pairs, learned, has_means=request.train_means is not None)
    notes += [note for system in systems for note in note_matching(system, scores, columns)]
    notes += [*networks.notes, *setup.notes, *note_remarks(scores)]
    table = make_table(
        scores,
        columns,
        {candidate.name: candidate.kind for candidate in scorer.candidates},
        Counter(grouping(pair) for pair in pairs),
        notes,
        {**_describe(request), "systems": describe_systems(systems)},
        _measure_distributions(scorer, pairs, networks),
    )
    return Comparison(pairs, scorer, scores, table)


def _describe(request: ComparisonRequest) -> dict:
    """Command, commit, data and options of a comparison, for table.json."""
    return {
        "command": request.command,
        "commit": read_commit(),
        "data": str(request.data.folder),
        "split": request.data.split,
        "episodes": request.data.episodes_text,
        "train_data": str(request.training.folder) if request.training else None,
        "train_episodes": request.training.episodes_text if request.training else None,
        "match": str(request.match) if request.match else None,
        "size": request.size,
        "probe": str(request.probe) if request.probe else None,
        "group": request.group,
        "motion_threshold": MOTION_THRESHOLD,
    }


def _measure_distributions(
    scorer: Scorer, pairs: Sequence[FramePair], networks: Networks
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
