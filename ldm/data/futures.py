"""Pairs out of prepared episodes, any time apart, with where robot and objects are at both ends.

Prepared pairs hold the times that were chosen when they were made; here each visit of a frame draws another.
"""

import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from commands.errors import UserError
from formats.prepared_episodes import EpisodeFolder, Motion, floors
from ldm.data.batch import FrameSample
from ldm.data.pixels import array_to_tensor, to_signed
from ldm.data.stream import sample_seed
from ldm.data.windows import OBJECT_FLOOR, pose_numbers
from ldm.modules.policy.networks import POSE

MEND = "prepare them with --camera, from recordings that have joints"


class EpisodeFutures(Dataset):
    """Frame now, sentence, frame then; the time between is drawn evenly from those that the episode still has.

    A state is the measured joints, then each object's position and two columns of its rotation, without their mean over
    the training split and in units of their deviation.

    Args:
        folder: prepared episodes.
        split: train, val or test.
        resolution: side of the pictures; as they were prepared.
        camera: that sees.
        seconds: least and greatest time ahead.
        objects: N, the most objects of a task; what a task has not is zero, and not known.
        every: a pair begins at every so many-th frame.
        more: M, further times of the same episode that come with each pair, as states alone. Pictures are what costs,
            and where things will be takes many more examples than how to draw them.
        eye_error: deviation of the noise on their present states, in units of a state's own: as far off as eyes may be.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        resolution: int,
        camera: str,
        seconds: tuple[float, float],
        objects: int,
        every: int = 1,
        more: int = 0,
        eye_error: float = 0.0,
    ) -> None:
        self.source = EpisodeFolder(Path(folder), split, (camera,))
        self.camera, self.objects, self.every = camera, objects, every
        self.more, self.eye_error = more, eye_error
        self.seconds = (float(seconds[0]), float(seconds[1]))
        self._check(resolution)
        training = self.source if split == "train" else EpisodeFolder(Path(folder), "train", (camera,))
        self._mean, self._deviation = self._scales(training)
        self.reach = [
            (max(1, round(self.seconds[0] * rate)), max(1, round(self.seconds[1] * rate))) for rate in self._rates()
        ]
        lengths = [episode.length for episode in self.source.episodes]
        counts = [max(0, -(-(length - least) // every)) for length, (least, _) in zip(lengths, self.reach, strict=True)]
        self._ends = list(accumulate(counts))
        if not len(self):
            raise UserError(
                f"no episode of the {split} split of {folder} is {self.seconds[0]:g} seconds long, the least time "
                "ahead; lower seconds."
            )

    def _rates(self) -> list[float]:
        return [episode.frames_per_second or 0.0 for episode in self.source.episodes]

    def _check(self, resolution: int) -> None:
        folder = self.source.folder
        if self.every < 1:
            raise UserError(f"every: {self.every}; wanted at least 1.")
        if not 0 < self.seconds[0] <= self.seconds[1]:
            raise UserError(f"seconds {list(self.seconds)}: wanted the least and the greatest time ahead, above 0.")
        side = self.source.frames(0, self.camera).shape[1]
        if side != resolution:
            raise UserError(f"{folder} was prepared at {side} x {side}, resolution is {resolution}; give one of them.")
        for episode, rate, motion in zip(self.source.episodes, self._rates(), self.source.motions, strict=True):
            if not rate or episode.draw_every != 1:
                raise UserError(f"{episode.episode_id} of {folder} has no rate, or not all frames drawn; record it so.")
            if motion.measured is None and motion.states is None:
                raise UserError(f"{episode.episode_id} of {folder} has no joints; {MEND}.")
            if motion.objects is not None and motion.objects.shape[1] > self.objects:
                raise UserError(f"{episode.episode_id} has {motion.objects.shape[1]} objects; raise objects.")

    def _scales(self, training: EpisodeFolder) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (S,) of what training states know."""
        tables, known = zip(*(self._states(motion) for motion in training.motions), strict=True)
        weights = np.concatenate([np.broadcast_to(k, t.shape) for t, k in zip(tables, known, strict=True)]).astype(
            float
        )
        rows, counts = np.concatenate(tables), np.maximum(weights.sum(axis=0), 1)
        mean = (rows * weights).sum(axis=0) / counts
        deviation = np.sqrt(((rows - mean) ** 2 * weights).sum(axis=0) / counts)
        joints = rows.shape[1] - POSE * self.objects
        least = np.concatenate([floors(joints), np.full(POSE * self.objects, OBJECT_FLOOR)])
        return mean.astype(np.float32), np.maximum(deviation, least).astype(np.float32)

    def _states(self, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        """States (T, S) in radians and metres, and which numbers the task has (S,)."""
        joints = motion.states if motion.measured is None else motion.measured
        length, size = joints.shape
        table = np.zeros((length, size + POSE * self.objects), np.float32)
        table[:, :size] = joints
        known = np.arange(table.shape[1]) < size
        if motion.objects is not None:
            width = POSE * motion.objects.shape[1]
            poses = pose_numbers(motion.objects.reshape(-1, motion.objects.shape[2]))
            table[:, size : size + width] = poses.reshape(length, width)
            known[size : size + width] = True
        return table, known

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | tuple[int, ...]) -> FrameSample:
        """Sample by index, or by (index, seed) as the training stream asks."""
        number, seed, *_ = key if isinstance(key, tuple) else (key, key)
        index = bisect.bisect_right(self._ends, number)
        t = (number - (self._ends[index - 1] if index else 0)) * self.every
        episode, (least, most) = self.source.episodes[index], self.reach[index]
        rng = np.random.default_rng(sample_seed(seed, 1))
        ahead = int(rng.integers(least, min(most, episode.length - 1 - t) + 1))
        sentences = episode.instructions
        view = self.source.frames(index, self.camera)
        now, then = (to_signed(array_to_tensor(np.array(view[at]))) for at in (t, t + ahead))
        table, known = self._states(self._rows(index, [t, t + ahead]))
        return {
            "source_frame": now,
            "target_frame": then,
            "instruction": sentences[int(rng.integers(len(sentences)))],
            "pair_id": f"{episode.episode_id}/{t}-{t + ahead}",
            "seconds": ahead / episode.frames_per_second,
            "state": self._in_units(table, known),
            "state_known": torch.from_numpy(known),
            "seed": seed,
            **self._draw_more(index, rng),
        }

    def _draw_more(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """States of M further pairs of moments (M, 2, S) and the seconds between (M,)."""
        if not self.more:
            return {}
        episode, (least, most) = self.source.episodes[index], self.reach[index]
        first = rng.integers(0, episode.length - least, self.more)
        ahead = rng.integers(least, np.minimum(most, episode.length - 1 - first) + 1)
        table, known = self._states(self._rows(index, np.stack([first, first + ahead], axis=1).ravel()))
        state = self._in_units(table, known).unflatten(0, (self.more, 2))
        noise = self.eye_error * rng.standard_normal(state[:, 0].shape, dtype=np.float32) * known
        state[:, 0] += torch.from_numpy(noise)
        return {"more_state": state, "more_seconds": torch.from_numpy(ahead / episode.frames_per_second).float()}

    def _rows(self, index: int, moments: Sequence[int] | np.ndarray) -> Motion:
        rows = vars(self.source.motions[index]).items()
        return Motion(**{name: None if table is None else table[moments] for name, table in rows})

    def _in_units(self, table: np.ndarray, known: np.ndarray) -> Tensor:
        return torch.from_numpy((table - self._mean) / self._deviation * known)
