"""RoboTwin 1.0 and early episodes: a folder of <frame>.pkl.

Source: RoboTwin 1.0 envs/base_task.py. A pickle holds observation/<camera>/rgb (uint8, true RGB), joint_action and
endpose; no instruction, time or seed. Frames are numbered from 0 and must be sorted as numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera
from dataset_tools.readers.naming import count_numbered
from dataset_tools.readers.safe_pickle import read_pickle
from formats.pictures import check_frame


@dataclass(frozen=True)
class PklFrames:
    """Frame number => picture of one camera of a pkl folder."""

    folder: Path
    camera: str
    shape: tuple[int, ...]  # of frame 0; an episode has one size

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (H, W, 3) RGB."""
        path = self.folder / f"{index}.pkl"
        picture = _cameras(read_pickle(path), path)[self.camera]
        return check_frame(picture, where=f"{path}, {self.camera}", shape=self.shape)


@dataclass(frozen=True)
class PklJoints:
    """Joint targets of a pkl folder; RoboTwin 1.0 stores no measured positions, so states equal actions."""

    folder: Path
    length: int

    def __call__(self) -> Joints:
        """Rows of joint_action, 14 numbers for two arms or 7 for one."""
        rows = []
        for index in range(self.length):
            path = self.folder / f"{index}.pkl"
            content = read_pickle(path)
            if not isinstance(content, dict) or content.get("joint_action") is None:
                return Joints()
            rows.append(np.asarray(content["joint_action"], dtype=np.float64))
            if rows[-1].shape != rows[0].shape or not np.isfinite(rows[-1]).all():
                raise UserError(f"joint_action of {path} is broken ({rows[-1]}); remove this episode.")
        table = np.stack(rows)
        return Joints(table, table)


def read_pkl_episode(
    folder: Path, *, task: str, number: int, camera: str | None = None, save_freq: int | None = None
) -> Episode:
    """Episode of a folder with 0.pkl, 1.pkl, ...

    Args:
        folder: the episode's folder.
        task: name of the task, which the files do not hold.
        number: episode number within the task.
        camera: which camera; None takes head_camera, or the first there is.
        save_freq: physics steps per saved frame, if known; the files do not hold it.

    Raises:
        UserError: if frames are missing or frame 0 cannot be read.
    """
    length = count_numbered(folder, ".pkl")
    content = read_pickle(folder / "0.pkl")
    cameras = _cameras(content, folder / "0.pkl")
    camera = choose_camera(camera, tuple(cameras), folder)
    first = check_frame(cameras[camera], where=f"{folder / '0.pkl'}, {camera}")
    return Episode(
        task=task,
        number=number,
        length=length,
        source=folder,
        read_frame=PklFrames(folder, camera, first.shape),
        read_joints=PklJoints(folder, length),
        cameras=tuple(cameras),
        camera=camera,
        save_freq=save_freq,
    )


def _cameras(content: Any, path: Path) -> dict[str, Any]:
    """Camera name => rgb array of one pickle."""
    try:
        observation = content["observation"]
        return {name: view["rgb"] for name, view in observation.items() if isinstance(view, dict) and "rgb" in view}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no RoboTwin frame: it has no observation/<camera>/rgb; remove it or choose another folder."
        ) from error
