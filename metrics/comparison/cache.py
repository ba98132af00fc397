"""Results kept per pair, so that a new table over old predictions is immediate.

One SQLite file. A result's id is a hash of everything that it depends on: the three pictures (path, bytes, time of
change), task and sentence, the size of the comparison and CODE_VERSION. The file can be deleted at any time.
"""

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

CODE_VERSION = 4  # raise it when a measure changes its meaning
CACHE_NAME = "pair_scores.sqlite"


def default_cache_folder() -> Path:
    """Where results are kept: $XDG_CACHE_HOME/frame-prediction, ~/.cache/frame-prediction."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frame-prediction"


def result_id(parts: object) -> str:
    """Hash of what a result depends on."""
    return hashlib.sha256(json.dumps([CODE_VERSION, parts], sort_keys=True).encode()).hexdigest()


class ScoreCache:
    """Values by (result id, key); None as folder keeps nothing.

    A cache that cannot be read or written is said once and done without: it must never stop a measurement.
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
