"""Scores many pairs: on several processes, and never twice.

One pair is in memory at a time in each process, so memory does not grow with the number of pairs. Results are kept in
one SQLite file, so that a new table over old predictions is immediate: a result's id is a hash of everything that it
depends on, the three pictures (path, bytes, time of change), task and sentence, the size of the comparison and
CODE_VERSION. The file can be deleted at any time.
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from commands.processes import available_cores, make_pool
from formats.prepared_folder import FramePair
from metrics.comparison.resizing import file_stamp
from metrics.comparison.scoring import Candidate, PairScore, Scorer

log = logging.getLogger(__name__)

CODE_VERSION = 4  # raise it when a measure changes its meaning
CACHE_NAME = "pair_scores.sqlite"
REMARK = "remark: "  # begins the key of a remark among the cached values
FEW_PAIRS = 24  # for fewer, starting processes costs more than it saves
LARGE_BYTES = 2**24


def result_id(parts: object) -> str:
    """Hash of what a result depends on."""
    return hashlib.sha256(json.dumps([CODE_VERSION, parts], sort_keys=True).encode()).hexdigest()


class ScoreCache:
    """Values by (result id, key) in one file; without a folder nothing is kept.

    A cache that cannot be read or written gives one warning and is left unused: it must never stop a measurement.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "ScoreCache":
        if self.folder is not None:
            try:
                self._open(self.folder)
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._connection is not None:
            self._connection.commit()
            self._connection.close()
            self._connection = None

    def read(self, identity: str) -> dict[str, float]:
        """All values kept under an id; a value that was nan is nan."""
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute("SELECT key, value FROM scores WHERE id = ?", (identity,)).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return {}
        return {key: float("nan") if value is None else value for key, value in rows}

    def write(self, identity: str, values: Mapping[str, float]) -> None:
        """Keep values under an id, beside what is there."""
        if self._connection is None:
            return
        rows = [(identity, key, value) for key, value in values.items()]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(folder / CACHE_NAME, timeout=10.0)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")  # a lost result is measured again
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS scores (id TEXT, key TEXT, value REAL, PRIMARY KEY (id, key)) WITHOUT ROWID"
        )

    def _give_up(self, error: Exception) -> None:
        log.warning(
            "results are not kept: %s in %s (%s). Delete the file to start a new one.", CACHE_NAME, self.folder, error
        )
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def score_all(
    scorer: Scorer, pairs: Sequence[FramePair], cache: ScoreCache, workers: int | None = None
) -> Iterator[list[PairScore]]:
    """Scores pair by pair, in order; what the cache knows is not measured again.

    Args:
        scorer: what to measure.
        pairs: on what.
        cache: an opened context; gets every new score.
        workers: processes; None takes one for each core that this process may use.
    """
    stored_keys = _stored_keys(scorer)
    known: dict[str, list[PairScore]] = {}
    todo: list[tuple[FramePair, tuple[str, ...]]] = []
    unfinished: dict[str, dict[str, str]] = {}  # pair id => row => result id
    for pair in pairs:
        results = identify_results(scorer, pair)
        cached = {row.name: _read_score(scorer, row, pair, cache.read(own), stored_keys) for row, own in results}
        known[pair.pair_id] = [score for score in cached.values() if score is not None]
        missing = tuple(name for name, score in cached.items() if score is None)
        if missing:
            todo.append((pair, missing))
            unfinished[pair.pair_id] = {row.name: own for row, own in results}
    for candidate in scorer.candidates if todo else ():
        candidate.prepare()
    fresh = _score_fresh(scorer, todo, workers or available_cores())
    place = {candidate.name: i for i, candidate in enumerate(scorer.candidates)}
    for pair in pairs:
        scores = known.pop(pair.pair_id)
        if pair.pair_id in unfinished:
            new = next(fresh)
            for score in new:
                cache.write(unfinished[pair.pair_id][score.row], _stored_values(score, stored_keys))
            scores = sorted([*scores, *new], key=lambda score: place[score.row])
        yield scores


def _score_fresh(
    scorer: Scorer, todo: list[tuple[FramePair, tuple[str, ...]]], workers: int
) -> Iterator[list[PairScore]]:
    if workers == 1 or len(todo) < FEW_PAIRS:
        _keep_freed_memory()
        yield from (scorer.score_pair(pair, names) for pair, names in todo)
        return
    with make_pool(workers, _adopt, scorer) as pool:
        yield from pool.map(_score_adopted, *zip(*todo, strict=True), chunksize=4)


def _keep_freed_memory() -> None:
    """Free one large array once: afterwards the C library keeps freed memory of smaller arrays for reuse.

    Without this it returns every half megabyte to the system, and a fifth of the time goes to getting it back.
    """
    np.empty(LARGE_BYTES, np.uint8)


_adopted: list[Scorer] = []  # the scorer of a worker process, sent once and not with every pair


def _adopt(scorer: Scorer) -> None:
    """Take the scorer; its networks compute on one thread, since there is a process a processor."""
    _keep_freed_memory()
    if scorer.meters:
        import torch  # noqa: PLC0415 - pixel measures do without

        torch.set_num_threads(1)
    _adopted[:] = [scorer]


def _score_adopted(pair: FramePair, names: tuple[str, ...]) -> list[PairScore]:
    return _adopted[0].score_pair(pair, names)


def _read_score(
    scorer: Scorer, candidate: Candidate, pair: FramePair, stored: Mapping[str, float], stored_keys: Mapping[str, str]
) -> PairScore | None:
    """The score of what the cache holds; None unless it holds every measure."""
    values = {key: stored.get(stored_key) for key, stored_key in stored_keys.items()}
    if any(value is None for value in values.values()):
        return None
    remarks = tuple(key.removeprefix(REMARK) for key in sorted(stored) if key.startswith(REMARK))
    return scorer.make_score(candidate, pair, values, remarks)


def _stored_values(score: PairScore, stored_keys: Mapping[str, str]) -> dict[str, float]:
    """What the cache is to hold of a score."""
    values = {stored_key: score.values[key] for key, stored_key in stored_keys.items()}
    return values | {f"{REMARK}{remark}": 1.0 for remark in score.remarks}


def _stored_keys(scorer: Scorer) -> dict[str, str]:
    """Name in the cache of each measure: a network's values depend on its weights."""
    keys = {key: key for key in scorer.pixel_keys}
    return keys | {key: f"{key} {meter.version}" for meter in scorer.meters for key in meter.keys}


def identify_results(scorer: Scorer, pair: FramePair) -> list[tuple[Candidate, str]]:
    """The rows that predict a pair, each with a hash of what its values depend on, the measures apart."""
    files = [file_stamp(path.resolve()) for path in pair.paths(scorer.folder)]
    identities = ((candidate, candidate.identity(pair)) for candidate in scorer.candidates)
    return [
        (candidate, result_id([files, identity, pair.task, pair.instruction, scorer.size]))
        for candidate, identity in identities
        if identity is not None
    ]
