"""Scores many pairs: on several processes, and never twice.

One pair is in memory at a time in each process, so memory does not grow with the number of pairs.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from formats.prepared_folder import FramePair
from metrics.comparison.cache import ScoreCache, result_id
from metrics.comparison.picture import file_stamp
from metrics.comparison.scoring import Candidate, PairScore, Scorer

REMARK = "remark: "  # begins the key of a remark among the cached values
FEW_PAIRS = 24  # for fewer, starting processes costs more than it saves
LARGE_BYTES = 2**24


def score_all(
    scorer: Scorer, pairs: Sequence[FramePair], cache: ScoreCache, workers: int | None = None
) -> Iterator[list[PairScore]]:
    """Scores pair by pair, in order; what the cache knows is not measured again.

    Args:
        scorer: what to measure.
        pairs: on what.
        cache: entered; gets every new score.
        workers: processes; None takes one a processor that this process may use.
    """
    known: dict[str, list[PairScore]] = {}
    todo: list[tuple[FramePair, tuple[str, ...]]] = []
    for pair in pairs:
        candidates = [candidate for candidate in scorer.candidates if candidate.identity(pair) is not None]
        cached = {candidate.name: _read_score(scorer, candidate, pair, cache) for candidate in candidates}
        known[pair.pair_id] = [score for score in cached.values() if score is not None]
        missing = tuple(name for name, score in cached.items() if score is None)
        if missing:
            todo.append((pair, missing))
    for candidate in scorer.candidates if todo else ():
        candidate.prepare()
    fresh = _score_fresh(scorer, todo, workers or count_processors())
    unfinished = {pair.pair_id for pair, _ in todo}
    for pair in pairs:
        scores = known.pop(pair.pair_id)
        if pair.pair_id in unfinished:
            new = next(fresh)
            for score in new:
                _keep_score(scorer, score, pair, cache)
            scores = scores + new
        yield scores


def count_processors() -> int:
    """Processors that this process may use; all of the machine where the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _score_fresh(
    scorer: Scorer, todo: list[tuple[FramePair, tuple[str, ...]]], workers: int
) -> Iterator[list[PairScore]]:
    _keep_freed_memory()
    if workers == 1 or len(todo) < FEW_PAIRS:
        yield from (scorer.score_pair(pair, names) for pair, names in todo)
        return
    # A fork of a process that used torch's threads may wait for ever once it runs torch. Pixel measures run none, and
    # a fresh process costs them a second of imports.
    context = multiprocessing.get_context("spawn" if scorer.meters else None)
    with ProcessPoolExecutor(workers, context, initializer=_adopt, initargs=(scorer,)) as executor:
        yield from executor.map(_score_adopted, *zip(*todo, strict=True), chunksize=4)


def _keep_freed_memory() -> None:
    """Free one large array, once: from then on the C library keeps what smaller arrays free, and hands it out again.

    Without this it returns every half megabyte to the system, and a fifth of the time goes to getting it back.
    """
    np.empty(LARGE_BYTES, np.uint8)


_adopted: list[Scorer] = []  # of a worker process: sent once, not with every pair


def _adopt(scorer: Scorer) -> None:
    """Take the scorer; its networks compute on one thread, since there is a process a processor."""
    if scorer.meters:
        import torch  # noqa: PLC0415 - pixel measures do without

        torch.set_num_threads(1)
    _adopted[:] = [scorer]


def _score_adopted(pair: FramePair, names: tuple[str, ...]) -> list[PairScore]:
    return _adopted[0].score_pair(pair, names)


def _read_score(scorer: Scorer, candidate: Candidate, pair: FramePair, cache: ScoreCache) -> PairScore | None:
    """What the cache knows, if it knows every measure."""
    stored = cache.read(_result_id(scorer, candidate, pair))
    values = {key: stored.get(stored_key) for key, stored_key in _stored_keys(scorer).items()}
    if any(value is None for value in values.values()):
        return None
    remarks = tuple(key.removeprefix(REMARK) for key in sorted(stored) if key.startswith(REMARK))
    return scorer.make_score(candidate, pair, values, remarks)


def _keep_score(scorer: Scorer, score: PairScore, pair: FramePair, cache: ScoreCache) -> None:
    candidate = next(candidate for candidate in scorer.candidates if candidate.name == score.row)
    values = {stored_key: score.values[key] for key, stored_key in _stored_keys(scorer).items()}
    remarks = {f"{REMARK}{remark}": 1.0 for remark in score.remarks}
    cache.write(_result_id(scorer, candidate, pair), values | remarks)


def _stored_keys(scorer: Scorer) -> dict[str, str]:
    """Name in the cache of each measure: a network's values depend on its weights."""
    keys = {key: key for key in scorer.pixel_keys}
    return keys | {key: f"{key} {meter.version}" for meter in scorer.meters for key in meter.keys}


def _result_id(scorer: Scorer, candidate: Candidate, pair: FramePair) -> str:
    paths = (pair.source_path(scorer.folder), pair.target_path(scorer.folder))
    files = [file_stamp(path.resolve()) for path in paths]
    return result_id([files, candidate.identity(pair), pair.task, pair.instruction, scorer.size])
