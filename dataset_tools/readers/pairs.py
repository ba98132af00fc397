"""Prepared pairs, or anybody's InstructPix2Pix data set, as episodes of two frames: video without states and actions.

A pair's seconds come from its frame numbers and its rate (`--save-freq` where the data do not say); the number is that
of the episode it came from, so that its split is the same as there.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from dataset_tools.episode import PHYSICS_RATE, Episode, choose_camera
from formats.pictures import read_picture
from formats.prepared_folder import INDEX, INDEX_CSV, SEEDS, FramePair, data_root, read_indexed

HOLDS = "pairs (index.jsonl, <sample>/prompt.json)"
CAMERAS = ("head_camera",)


@dataclass(frozen=True)
class PairFrames:
    """Number 0 or 1 => current or future frame."""

    paths: tuple[Path, Path]

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (H, W, 3) RGB."""
        return read_picture(self.paths[index]).pixels


def holds_episodes(folder: Path) -> bool:
    """Whether the folder is one of pairs."""
    root = data_root(Path(folder))
    if any((root / name).is_file() for name in (INDEX, SEEDS, INDEX_CSV)):
        return True
    with os.scandir(root) as entries:
        return any((Path(entry) / "prompt.json").is_file() for entry in entries if entry.is_dir())


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Pairs of a folder, by task, then number.

    Raises:
        UserError: if there are none, or one is damaged.
    """
    root = data_root(Path(folder)).absolute()
    chosen = choose_camera(camera, CAMERAS, root)
    episodes = [_read(pair, position, root, chosen, save_freq) for position, pair in enumerate(read_indexed(root))]
    return sorted(episodes, key=lambda episode: (episode.task, episode.number, str(episode.source)))


def _read(pair: FramePair, position: int, root: Path, camera: str, save_freq: int | None) -> Episode:
    if pair.horizon is not None and pair.horizon < 1:
        raise UserError(f"{pair.pair_id} of {root} goes {pair.horizon} frames ahead; prepare the folder again.")
    rate = pair.frames_per_second or (PHYSICS_RATE / save_freq if save_freq else None)
    return Episode(
        task=pair.task or root.name,
        number=position if pair.episode is None else pair.episode,
        length=2,
        source=pair.target_path(root),  # one file each: what a pair is stamped and named by
        read_frame=PairFrames(pair.paths(root)),
        instructions=(pair.instruction,) if pair.instruction.strip() else (),
        cameras=CAMERAS,
        camera=camera,
        rate=rate / pair.horizon if rate and pair.horizon else None,
        notes={"pair": pair.pair_id},
    )
