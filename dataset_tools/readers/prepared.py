"""Prepared episodes as episodes again: pairs for picture models out of what policies learn from, frame for frame.

Only drawn frames are seen: where every k-th was, the episode is k times shorter and its rate k times lower.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera
from formats.atomic import inside
from formats.prepared_episodes import INDEX, MEND, PreparedEpisode, positions_of, read_episodes, read_motion

HOLDS = "prepared episodes (episodes.jsonl)"


@dataclass(frozen=True)
class DrawnFrames:
    """Number of a drawn frame => picture."""

    path: Path
    num_pictures: int

    def __call__(self, index: int) -> np.ndarray:
        """Drawn frame `index` as uint8 (S, S, 3) RGB."""
        try:
            frames = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{self.path} is not as it should be ({error}); {MEND}.") from error
        if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != self.num_pictures:
            raise UserError(f"{self.path} holds {frames.dtype} {frames.shape}; {MEND}.")
        return np.array(frames[index])


@dataclass(frozen=True)
class DrawnJoints:
    """States, actions and joints at the drawn frames."""

    folder: Path
    episode: PreparedEpisode

    def __call__(self) -> Joints:
        """Rows of the drawn frames."""
        motion = read_motion(self.folder, self.episode)
        drawn = slice(None, None, self.episode.draw_every)
        states, actions, measured = (
            None if table is None else table[drawn].astype(np.float64)
            for table in (motion.states, motion.actions, motion.measured)
        )
        return Joints(states, actions, measured=measured)


@dataclass(frozen=True)
class DrawnPositions:
    """Where grippers and objects are at the drawn frames."""

    folder: Path
    episode: PreparedEpisode

    def __call__(self) -> dict[str, np.ndarray]:
        """Float64 (P, 3) metres by name; empty where the episode does not know."""
        positions = positions_of(self.episode, read_motion(self.folder, self.episode))
        return {name: rows[:: self.episode.draw_every].astype(np.float64) for name, rows in positions.items()}


def holds_episodes(folder: Path) -> bool:
    """Whether the folder is one of prepared episodes."""
    return (Path(folder) / INDEX).is_file()


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Episodes of a folder that have pictures, by task, then number."""
    root = Path(folder).absolute()
    episodes = [_read(root, episode, camera) for episode in read_episodes(root) if episode.cameras]
    if not episodes:
        raise UserError(f"the episodes of {folder} have no pictures; prepare them with cameras.")
    return sorted(episodes, key=lambda episode: (episode.task, episode.number, str(episode.source)))


def _read(root: Path, episode: PreparedEpisode, camera: str | None) -> Episode:
    chosen = choose_camera(camera, episode.cameras, root / episode.episode_id)
    rate = episode.frames_per_second
    return Episode(
        task=episode.task,
        number=episode.number,
        length=episode.num_pictures,
        source=inside(root, episode.episode_id),
        read_frame=DrawnFrames(inside(root, f"{episode.episode_id}/{chosen}.npy"), episode.num_pictures),
        instructions=episode.instructions,
        read_joints=DrawnJoints(root, episode),
        read_positions=DrawnPositions(root, episode),
        cameras=episode.cameras,
        camera=chosen,
        rate=rate / episode.draw_every if rate else None,
        notes={"unseen": list(episode.unseen_instructions)} if episode.unseen_instructions else {},
    )
