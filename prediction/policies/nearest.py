"""A baseline for policies: the actions of the training episode whose first frames are nearest to those seen now.

A policy with cameras has to beat it, as a predictor of frames has to beat copying its input.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from commands.errors import UserError
from formats.hashing import sha256_of_file
from formats.pictures import resize_square
from formats.prepared_episodes import INDEX, EpisodeFolder


class NearestReplay:
    """Replays the nearest training episode, open loop; all tasks are searched, since it has no other way to know.

    Args:
        folder: prepared episodes with pictures and actions.

    Raises:
        UserError: if the folder holds none, or its training episodes share no camera or have no actions.
    """

    size = None  # pictures as they are drawn: prepared here as in the folder
    privileged = False

    def __init__(self, folder: Path) -> None:
        self._source = EpisodeFolder(folder, "train")
        names = {camera.removesuffix("_camera"): camera for camera in self._source.cameras}
        if not names:
            raise UserError(f"{folder} holds no pictures to compare with; prepare episodes with a camera.")
        blind = [e.episode_id for e, m in zip(self._source.episodes, self._source.motions, strict=True)
                 if m.actions is None]  # fmt: skip
        if blind:
            raise UserError(f"{blind[0]} of {folder} has no actions to replay; choose another folder.")
        self.cameras, self._names = tuple(names), names
        self._firsts = {
            name: np.stack([self._source.frames(i, camera)[0] for i in range(len(self._source.episodes))])
            for name, camera in names.items()
        }
        self._targets: np.ndarray | None = None

    def settings(self) -> dict[str, Any]:
        """What a rollouts folder keeps of it."""
        return {"episodes": len(self._source.episodes), "index": sha256_of_file(self._source.folder / INDEX)}

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """The next pictures choose anew."""
        self._targets = None

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """All targets (T - 1, D) of the nearest episode, radians and metres; after them the last, for long."""
        if self._targets is None:
            self._targets = self._source.motions[self.find(observation["pixels"])].actions[:-1]
            return self._targets
        return np.repeat(self._targets[-1:], len(self._targets), axis=0)  # nothing more is to be seen

    def find(self, pixels: Mapping[str, np.ndarray]) -> int:
        """Index of the training episode with the least mean squared difference over all cameras."""
        differences = np.zeros(len(self._source.episodes))
        for name, firsts in self._firsts.items():
            seen = resize_square(pixels[name], firsts.shape[1]).astype(np.float32)
            differences += np.square(firsts - seen).mean(axis=(1, 2, 3))
        return int(differences.argmin())
