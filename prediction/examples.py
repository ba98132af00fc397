"""Example frames of a prepared data set for people to try, with their true futures. The manifest only."""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from formats.prepared_folder import FramePair, read_manifest


@dataclass(frozen=True)
class Examples:
    """Pairs of one split of a prepared folder, by id."""

    folder: Path
    pairs: dict[str, FramePair]
    _futures: dict[tuple[str | None, int, int], Path]  # (task, episode, frame number) => picture

    @staticmethod
    def read(folder: Path, split: str) -> "Examples":
        """Examples of a folder; see read_manifest for what it raises."""
        pairs = read_manifest(folder, None if split == "all" else split)
        known = [pair for pair in pairs if pair.episode is not None and pair.target_index is not None]
        futures = {(pair.task, pair.episode, pair.target_index): pair.target_path(folder) for pair in known}
        return Examples(folder, {pair.pair_id: pair for pair in pairs}, futures)

    def choose(self, num: int) -> list[str]:
        """Ids of `num` pairs, spread evenly."""
        names = list(self.pairs)
        return names if len(names) <= num else [names[i * len(names) // num] for i in range(num)]

    def instructions(self) -> list[str]:
        """Distinct sentences, in order of appearance."""
        return list(dict.fromkeys(pair.instruction for pair in self.pairs.values()))

    def source(self, pair_id: str) -> Path:
        """Picture of the current frame."""
        return self.pairs[pair_id].source_path(self.folder)

    def truths(self, pair_id: str | None, num: int, ahead: int | None) -> list[Path]:
        """Real frames at 1, 2, ... `num` times `ahead` frames, until the first that the data has not.

        Args:
            pair_id: of the example; None, or an id of no example, has no truths.
            num: of predictions in a row.
            ahead: frames that each prediction looks ahead; None, where that is not known, takes the pair's own.
        """
        pair = self.pairs.get(pair_id or "")
        if pair is None:
            return []
        if pair.horizon is None:
            return [pair.target_path(self.folder)]  # data that do not say how far ahead their futures are
        ahead = ahead or pair.horizon
        if pair.episode is None:
            return [pair.target_path(self.folder)] if ahead == pair.horizon else []
        at = ((pair.task, pair.episode, pair.source_index + k * ahead) for k in range(1, num + 1))
        return list(takewhile(bool, (self._futures.get(key) for key in at)))
