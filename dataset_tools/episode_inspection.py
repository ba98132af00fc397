"""Summary of folders of prepared episodes: counts, lengths and scales as a report, and strips of pictures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from formats.atomic import atomic_path
from formats.prepared_episodes import STATISTICS, EpisodeFolder, PreparedEpisode
from formats.prepared_folder import SPLITS, FramePair

CELL, GAP = 128, 4  # pixels
MOMENTS = 6  # pictures of a strip


@dataclass(frozen=True)
class EpisodeInspection:
    """One folder of prepared episodes, opened."""

    folder: Path
    opened: EpisodeFolder

    @property
    def pairs(self) -> tuple[FramePair, ...]:
        """One entry per episode; the leak check needs only task, episode and split."""
        return tuple(
            FramePair(e.episode_id, "", "", "", split=e.split, task=e.task, episode=e.number)
            for e in self.opened.episodes
        )

    def report(self) -> list[str]:
        """Lines of the text report."""
        tasks = sorted({episode.task for episode in self.opened.episodes})
        sides = [f"{camera} {self.opened.frames(0, camera).shape[1]} px" for camera in self.opened.cameras]
        sizes = ", ".join(sides) or "no camera"
        lines = [f"{self.folder}: {len(self.opened.episodes)} episodes, {len(tasks)} tasks, {sizes}", ""]
        for task in tasks:
            lines += self._task_lines([index for index, e in enumerate(self.opened.episodes) if e.task == task])
        return [*lines, *self._scale_lines(), ""]

    def write_strips(self, output: Path) -> list[Path]:
        """One picture per task: the first episode's cameras one below the other, six moments from left to right."""
        written: list[Path] = []
        if not self.opened.cameras:
            return written
        for task in sorted({episode.task for episode in self.opened.episodes}):
            index = next(i for i, episode in enumerate(self.opened.episodes) if episode.task == task)
            path = output / f"episode_{task}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as draft:
                self._draw_strip(index).save(draft)
            written.append(path)
        return written

    def _task_lines(self, indices: Sequence[int]) -> list[str]:
        episodes = [self.opened.episodes[index] for index in indices]
        first, counts = episodes[0], Counter(episode.split for episode in episodes)
        lengths = sorted(episode.length for episode in episodes)
        rates = {f"{rate:.1f}" if rate else "unknown" for rate in (episode.frames_per_second for episode in episodes)}
        known = [name for name, table in vars(self.opened.motions[indices[0]]).items() if table is not None]
        noises = sorted({episode.operator_noise for episode in episodes})
        return [
            f"  {first.task}",
            "    " + ", ".join(f"{split} {counts[split]} episodes" for split in SPLITS if split in counts),
            f"    {lengths[0]} to {lengths[-1]} frames at {', '.join(sorted(rates))} Hz",
            f"    {', '.join(known) or 'pictures only'}"
            + (f"; operator noise {', '.join(f'{noise:g}' for noise in noises)} rad" if noises != [0.0] else ""),
            f"    {len(first.instructions)} sentences, such as '{_sentence(first)}'",
            "",
        ]

    def _scale_lines(self) -> list[str]:
        if not (self.folder / STATISTICS).is_file():
            return ["  no scales: no training episode has states and actions"]
        scales = self.opened.statistics
        first, last = np.mean(scales.action_std[0]), np.mean(scales.action_std[-1])
        how = "relative to the state" if scales.relative else "as they are"
        return [
            f"  scales of {scales.episodes} training episodes, {scales.frames} frames; hash {scales.hash[:16]}",
            f"    states from {min(scales.state_min):.3f} to {max(scales.state_max):.3f}",
            f"    actions {how}: mean scale {first:.3f} at step 1, {last:.3f} at step {scales.chunk}",
        ]

    def _draw_strip(self, index: int) -> Image.Image:
        length = self.opened.episodes[index].length
        moments = np.linspace(0, length - 1, MOMENTS).round().astype(int)
        size = (MOMENTS * (CELL + GAP) - GAP, len(self.opened.cameras) * (CELL + GAP) - GAP)
        strip = Image.new("RGB", size, "white")
        for row, camera in enumerate(self.opened.cameras):
            for column, t in enumerate(moments):
                picture = Image.fromarray(
                    np.asarray(self.opened.frames(index, camera)[t // self.opened.episodes[index].draw_every])
                ).resize((CELL, CELL))
                strip.paste(picture, (column * (CELL + GAP), row * (CELL + GAP)))
        return strip


def inspect_episodes(folder: Path) -> EpisodeInspection:
    """Open a folder; every episode's numbers are read and checked."""
    opened = EpisodeFolder(folder)
    assert len(opened.motions) == len(opened.episodes)
    return EpisodeInspection(Path(folder), opened)


def _sentence(episode: PreparedEpisode) -> str:
    return episode.instructions[0] if episode.instructions else ""
