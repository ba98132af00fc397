"""Windows for models of video and action: several cameras, earlier frames, frames to come, state, actions.

What an episode lacks is said and not made up: `view_valid`, `future_valid`, `state_valid`, `action_valid`. Times are
told in seconds, those of the frames that were drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from commands.errors import UserError
from formats.prepared_episodes import EpisodeFolder, Window
from ldm.data.windows import EpisodeBatch, EpisodeWindows
from ldm.modules.policy.networks import POSE

Horizon = float | Sequence[float]  # seconds, or the range that they are drawn from


def as_range(told: Horizon) -> tuple[float, float]:
    """Least and greatest of the seconds ahead."""
    return tuple(told) if isinstance(told, Sequence) else (told, told)


class JointBatch(TypedDict):
    """B windows of V cameras, H frames up to now, F frames to come, K actions."""

    frames: dict[str, Tensor]  # camera => (B, H, 3, S, S) in [-1, 1], the present last; zeros where it is absent
    view_valid: dict[str, Tensor]  # camera => (B,) bool
    history: Tensor  # (B, H) seconds from now, at most 0
    future: dict[str, Tensor]  # camera => (B, F, 3, S, S)
    future_valid: dict[str, Tensor]  # camera => (B, F) bool: not past the end
    seconds: Tensor  # (B, F) from now, above 0
    command: Tensor  # (B, D) target in force
    measured: Tensor  # (B, D) joints
    past_commands: Tensor  # (B, H - 1, D) targets in force at the earlier frames
    state_valid: Tensor  # (B,) bool
    actions: Tensor  # (B, K, D) targets
    action_valid: Tensor  # (B, K) bool
    objects: Tensor  # (B, N, 9)
    object_valid: Tensor  # (B, N) bool
    instruction: list[str]
    pair_id: list[str]  # "<task>/<episode>/<frame>"
    seed: Tensor  # (B,) int64
    more: NotRequired[EpisodeBatch]  # windows without frames, as of EpisodeBatch


class JointWindows(EpisodeWindows):
    """Windows of a split of prepared episodes, with time.

    Args:
        folder, split: see EpisodeWindows.
        cameras: camera => side of its pictures in pixels.
        state_size: D, numbers of a state; actions are as many.
        future: seconds from now of each frame to come, or the range [least, most] that chance draws them from; where
            only every k-th frame was drawn, the nearest of those is taken.
        history: seconds before now of each earlier frame, rising to now; before the beginning stands the first frame.
        action_free: take episodes without actions, or of another robot; they teach video.
        labelled: of each task, episodes that keep their actions and objects; None: all.
        some_lack_cameras: take episodes that lack one of the cameras.
        **windows: see EpisodeWindows.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        cameras: Mapping[str, int],
        state_size: int,
        future: Sequence[Horizon],
        history: Sequence[float] = (),
        *,
        action_free: bool = False,
        labelled: int | None = None,
        some_lack_cameras: bool = False,
        **windows: object,
    ) -> None:
        self.sides, self.state_size, self.action_free = dict(cameras), state_size, action_free
        self.future = [as_range(told) for told in future]
        self.history = list(history)
        self.some_lack_cameras = some_lack_cameras
        self._check_times()
        super().__init__(folder, split, tuple(cameras), **windows)
        self.acting = [index for index in self.first_of_each_task(labelled) if index in self.acting]
        if self.more and not self.acting:
            raise UserError(
                f"more: {self.more} windows for each are cut from labelled episodes, and there is none (labelled: "
                f"{labelled}); give more: 0, or label some."
            )

    def _check_times(self) -> None:
        """Refuse times that lie on the wrong side of now."""
        for told in self.future:
            if len(told) != 2 or not 0 < told[0] <= told[1]:
                raise UserError(f"future: {list(told)}; wanted seconds above 0, or a range [least, most] of them.")
        if any(told <= 0 for told in self.history) or sorted(self.history, reverse=True) != self.history:
            raise UserError(f"history: {self.history}; wanted seconds before now, the earliest first, such as [0.96].")

    def open_folder(self, folder: Path, split: str, cameras: Sequence[str]) -> EpisodeFolder:
        """Episodes, some of which may lack a camera."""
        return EpisodeFolder(folder, split, cameras, some_lack_cameras=self.some_lack_cameras)

    def _check(self) -> None:
        """Refuse episodes that cannot teach what is asked of them."""
        if not self.action_free:
            super()._check()
        for episode, motion in zip(self.source.episodes, self.source.motions, strict=True):
            if episode.frames_per_second is None:
                raise UserError(f"{episode.episode_id} of {self.source.folder} has no rate; seconds cannot be counted.")
            size = None if motion.actions is None else motion.actions.shape[1]
            if not self.action_free and size != self.state_size:
                raise UserError(
                    f"{episode.episode_id} of {self.source.folder} has actions of {size} numbers, the config's "
                    f"state_size is {self.state_size}; give state_size={size}, or action_free=true for video alone."
                )
            if not any(camera in episode.cameras for camera in self.sides):
                raise UserError(
                    f"{episode.episode_id} of {self.source.folder} has none of the cameras {', '.join(self.sides)}, "
                    f"but {', '.join(episode.cameras)}."
                )

    def _show(self, index: int, t: int, window: Window, rng: np.random.Generator) -> dict:
        """What the cameras showed, show and will show; all frames of a camera are augmented alike."""
        episode = self.source.episodes[index]
        rate, step = episode.frames_per_second, episode.draw_every
        wanted = [float(rng.uniform(*told)) if told[0] < told[1] else told[0] for told in self.future]
        ahead = [step * max(1, round(seconds * rate / step)) for seconds in wanted]
        back = [step * max(1, round(seconds * rate / step)) for seconds in self.history]
        times = [max(t - frames, 0) for frames in back] + [t] + [t + frames for frames in ahead]
        drawn = np.minimum(times, episode.length - 1) // step
        shown, num = {}, len(back) + 1
        for camera, side in self.sides.items():
            if camera in episode.cameras:
                frames = self.source.frames(index, camera)
                if frames.shape[1] != side:
                    raise UserError(
                        f"pictures of {camera} in {self.source.folder} have {frames.shape[1]} pixels a side, the "
                        f"config wants {side}; prepare the episodes with --size {side} for it."
                    )
                shown[camera] = self._augment(np.asarray(frames[drawn]), rng)
            else:
                shown[camera] = torch.zeros(len(times), 3, side, side)
        there = {camera: camera in episode.cameras for camera in self.sides}
        in_time = torch.tensor([moment <= episode.length - 1 for moment in times[num:]], dtype=torch.bool)
        return {
            "frames": {camera: frames[:num] for camera, frames in shown.items()},
            "view_valid": {camera: torch.tensor(seen) for camera, seen in there.items()},
            "history": torch.tensor([(moment - t) / rate for moment in times[:num]], dtype=torch.float32),
            "future": {camera: frames[num:] for camera, frames in shown.items()},
            "future_valid": {camera: in_time & seen for camera, seen in there.items()},
            "seconds": torch.tensor(ahead, dtype=torch.float32) / rate,
            "past_commands": self._past_commands(index, times[: num - 1]),
        }

    def _past_commands(self, index: int, times: Sequence[int]) -> Tensor:
        states = self.source.motions[index].states
        if states is None or states.shape[1] != self.state_size:
            return torch.zeros(len(times), self.state_size)
        return torch.from_numpy(states[np.asarray(times, np.int64)].copy())

    def _tell(self, index: int, window: Window, rng: np.random.Generator) -> dict:
        """States, actions and objects; of an episode that has none, or is to keep them, zeros that are not valid."""
        motion, size = self.source.motions[index], self.state_size
        known = motion.states is not None and motion.states.shape[1] == size
        window = replace(window, objects=window.objects[: self.objects])  # what teaches video alone may have more
        told = super()._tell(index, window, rng) | {"state_valid": torch.tensor(known)}
        if not known:
            told |= {"command": torch.zeros(size), "measured": torch.zeros(size)}
        acts = known and motion.actions is not None and motion.actions.shape[1] == size and index in self.acting
        if not acts:
            told |= {
                "actions": torch.zeros(self.chunk, size),
                "action_valid": torch.zeros(self.chunk, dtype=torch.bool),
                "objects": torch.zeros(self.objects, POSE),
                "object_valid": torch.zeros(self.objects, dtype=torch.bool),
            }
        return told
