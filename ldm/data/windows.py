"""Windows out of prepared episodes, for models that act: what is seen and known at a frame, and the actions from there.

Everything that chance decides about a sample (sentence, shift, brightness) comes from its seed, as for frame pairs.
"""

import bisect
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, default_collate

from commands.errors import UserError
from formats.prepared_episodes import EpisodeFolder, Statistics, Window
from ldm.data.stream import sample_seed

OBJECT_FLOOR = 0.02  # metres, or of a rotation's column: least scale of an object's numbers
REFERENCE_SIDE = 128  # pixels: shifts are told for pictures of this side, smaller pictures shift less


class EpisodeBatch(TypedDict):
    """B windows; see formats.prepared_episodes.Window."""

    frames: dict[str, Tensor]  # camera => (B, 3, S, S) in [-1, 1]
    command: Tensor  # (B, D) target in force
    measured: Tensor  # (B, D) joints
    actions: Tensor  # (B, K, A) targets
    action_valid: Tensor  # (B, K) bool
    objects: Tensor  # (B, N, 9) position and two columns of the rotation; zeros where there is no such object
    object_valid: Tensor  # (B, N) bool
    instruction: list[str]
    pair_id: list[str]  # "<task>/<episode>/<frame>"
    seed: Tensor  # (B,) int64
    more: NotRequired["EpisodeBatch"]  # M windows for each of these, without frames; objects a little off


def pose_numbers(poses: np.ndarray) -> np.ndarray:
    """(N, 7) x, y, z, quaternion w, x, y, z => (N, 9) x, y, z and the first two columns of the rotation matrix.

    The columns are continuous where a quaternion jumps (Zhou et al., arXiv 1812.07035).
    """
    w, x, y, z = np.moveaxis(poses[:, 3:], 1, 0)
    first = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    second = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    return np.stack([*poses[:, :3].T, *first, *second], axis=1).astype(np.float32)


class EpisodeWindows(Dataset):
    """Windows of a split of prepared episodes.

    Args:
        folder: prepared episodes.
        split: train, val or test.
        cameras: what is seen; none for a policy that is told where the objects are.
        chunk: K, actions of a window.
        objects: N; episodes with fewer have zeros.
        every: a window begins at every so many-th frame that was drawn.
        shift: greatest random shift in pixels of a 128-pixel picture, edges repeated; 0 for none.
        brightness: pictures are multiplied by 1 +- this.
        max_episodes: of each task, the first so many; None takes all.
        more: M, windows without pictures, of any episode and moment, that come with each window. Pictures are what
            costs, and the action layers need many more windows than the eyes.
        object_noise: of the objects of those, standard deviations of the place in metres and of the rotation's columns.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        cameras: Sequence[str],
        chunk: int,
        objects: int,
        every: int = 1,
        shift: int = 0,
        brightness: float = 0.0,
        max_episodes: int | None = None,
        more: int = 0,
        object_noise: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        for name, number in (("every", every), ("max_episodes", max_episodes)):
            if number is not None and number < 1:
                raise UserError(f"{name}: {number}; wanted at least 1.")
        self.source = self.open_folder(Path(folder), split, cameras)
        self.chunk, self.objects, self.every = chunk, objects, every
        self.strides = [every * (episode.draw_every if self.source.cameras else 1) for episode in self.source.episodes]
        self.shift, self.brightness = shift, brightness
        self.more, self.object_noise = more, np.repeat(np.asarray(object_noise, np.float32), (3, 6))
        self._check()
        self._episodes = self.acting = self.first_of_each_task(max_episodes)
        counts = [-(-(self.source.episodes[index].length - 1) // self.strides[index]) for index in self._episodes]
        self._ends = list(accumulate(counts))

    def open_folder(self, folder: Path, split: str, cameras: Sequence[str]) -> EpisodeFolder:
        """The split's episodes."""
        return EpisodeFolder(folder, split, cameras)

    def first_of_each_task(self, most: int | None) -> list[int]:
        """Numbers of the first episodes of each task, `most` of them; None: all."""
        seen: Counter[str] = Counter()
        chosen = []
        for index, episode in enumerate(self.source.episodes):
            seen[episode.task] += 1
            if most is None or seen[episode.task] <= most:
                chosen.append(index)
        return chosen

    def _check(self) -> None:
        """Refuse episodes that cannot teach actions."""
        if self.chunk > self.statistics.chunk:
            raise UserError(
                f"chunks of {self.chunk} actions are wanted, the scales of {self.source.folder} are of "
                f"{self.statistics.chunk}; prepare the episodes with --chunk {self.chunk}."
            )
        for episode, motion in zip(self.source.episodes, self.source.motions, strict=True):
            if motion.actions is None:
                raise UserError(f"{episode.episode_id} of {self.source.folder} has no actions: it teaches video only.")
            if motion.objects is not None and motion.objects.shape[1] > self.objects:
                raise UserError(
                    f"{episode.episode_id} has {motion.objects.shape[1]} objects, the config knows {self.objects}; "
                    "raise objects."
                )

    @property
    def statistics(self) -> Statistics:
        """Scales of states and actions, measured on the training split."""
        return self.source.statistics

    def object_scales(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of where the objects are, (N, 9) each; deviations not below OBJECT_FLOOR."""
        mean, std = torch.zeros(self.objects, 9), torch.ones(self.objects, 9)
        tables = [motion.objects for motion in self.source.motions if motion.objects is not None]
        for slot in range(self.objects):
            rows = [table[:, slot] for table in tables if table.shape[1] > slot]
            if rows:
                numbers = torch.from_numpy(pose_numbers(np.concatenate(rows)))
                mean[slot], std[slot] = numbers.mean(dim=0), numbers.std(dim=0).clamp(min=OBJECT_FLOOR)
        return mean, std

    @property
    def num_episodes(self) -> int:
        """Episodes that windows are cut from."""
        return len(self._episodes)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: int | tuple[int, ...]) -> dict:
        """Sample by index, or by (index, seed) as the training stream asks."""
        number, seed, *_ = key if isinstance(key, tuple) else (key, key)
        place = bisect.bisect_right(self._ends, number)
        index = self._episodes[place]
        t = (number - (self._ends[place - 1] if place else 0)) * self.strides[index]
        rng = np.random.default_rng(sample_seed(seed, 1))
        window = self._cut(index, t, rng)
        shown = self._show(index, t, window, rng)
        sample = {**shown, **self._tell(index, window, rng), "pair_id": self._name(index, t), "seed": seed}
        return sample | ({"more": [self._draw_unseen(rng) for _ in range(self.more)]} if self.more else {})

    def _cut(self, index: int, t: int, rng: np.random.Generator, cameras: Sequence[str] | None = None) -> Window:
        """The window of a sample; `cameras` are those that are wanted, None takes all."""
        return self.source.window(index, t, chunk=self.chunk, cameras=cameras)

    def _show(self, index: int, t: int, window: Window, rng: np.random.Generator) -> dict:
        """The pictures of a sample."""
        return {"frames": {camera: self._augment(frame, rng) for camera, frame in window.frames.items()}}

    def _name(self, index: int, t: int) -> str:
        return f"{self.source.episodes[index].episode_id}/{t}"

    def _draw_unseen(self, rng: np.random.Generator) -> dict:
        """A window without pictures that chance chooses, its objects a little off."""
        index = self.acting[int(rng.integers(len(self.acting)))]
        t = int(rng.integers(self.source.episodes[index].length - 1))
        window = self._cut(index, t, rng, cameras=())
        told = self._tell(index, window, rng)
        noise = rng.standard_normal((len(window.objects), 9), np.float32) * self.object_noise
        told["objects"][: len(noise)] += torch.from_numpy(noise)
        return told

    def _tell(self, index: int, window: Window, rng: np.random.Generator) -> dict:
        """All of a sample but its pictures."""
        objects = np.zeros((self.objects, 9), np.float32)
        objects[: len(window.objects)] = pose_numbers(window.objects)
        sentences = self.source.episodes[index].instructions
        return {
            "command": torch.from_numpy(window.state.copy()),
            "measured": torch.from_numpy(window.measured.copy()),
            "actions": torch.from_numpy(window.actions.copy()),
            "action_valid": torch.from_numpy(window.action_valid),
            "objects": torch.from_numpy(objects),
            "object_valid": torch.arange(self.objects) < len(window.objects),
            "instruction": sentences[int(rng.integers(len(sentences)))],
        }

    def _augment(self, frames: np.ndarray, rng: np.random.Generator) -> Tensor:
        """uint8 (..., S, S, 3) => (..., 3, S, S) in [-1, 1], all shifted and brightened alike, as chance has it."""
        pixels = torch.from_numpy(rearrange(frames, "... h w c -> ... c h w").copy()).float() / 255.0
        side = frames.shape[-2]
        most = round(self.shift * side / REFERENCE_SIDE)
        if most:
            down, right = rng.integers(0, 2 * most + 1, 2)
            padded = functional.pad(pixels.reshape(-1, 3, side, side), (most,) * 4, mode="replicate")
            pixels = padded[:, :, down : down + side, right : right + side].reshape(pixels.shape)
        if self.brightness:
            pixels = (pixels * float(rng.uniform(1 - self.brightness, 1 + self.brightness))).clamp(0.0, 1.0)
        return pixels * 2.0 - 1.0

    def collate(self, samples: list[dict]) -> EpisodeBatch:
        """EpisodeBatch of samples."""
        more = [told for sample in samples for told in sample.pop("more", ())]
        return default_collate(samples) | ({"more": default_collate(more)} if more else {})
