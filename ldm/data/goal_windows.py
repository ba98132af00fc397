"""Windows with a picture of the near future, for a policy that is shown where to go (SuSIE, arXiv 2310.10639).

The picture comes as one more camera, GOAL, and what it shows as further objects: N places now, the same N later. So a
network that is asked where objects are is asked where they will be as well, and its actions follow from both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from commands.errors import UserError
from formats.prepared_episodes import Window
from ldm.data.windows import EpisodeWindows, pose_numbers

GOAL = "goal"  # name of the picture among the frames


class GoalWindows(EpisodeWindows):
    """Windows of a split of prepared episodes with a picture of one camera some frames ahead.

    Args:
        folder, split, cameras, chunk: as of EpisodeWindows.
        objects: 2 N, places of objects now and later.
        camera: of `cameras`, whose picture is shown.
        ahead: least and most frames from now; chance draws between them, and past the end the last frame is shown.
        drop: share of windows without a picture: grey, and no object later.
        options: further ones of EpisodeWindows.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        cameras: Sequence[str],
        chunk: int,
        objects: int,
        camera: str,
        ahead: tuple[int, int],
        drop: float,
        **options: Any,
    ) -> None:
        if objects % 2 or camera not in cameras or not 1 <= ahead[0] <= ahead[1] or not 0 <= drop <= 1:
            raise UserError(
                f"objects {objects}, camera {camera}, ahead {list(ahead)}, drop {drop}: wanted an even number of "
                f"objects, one of {', '.join(cameras)}, a range of frames from 1 on, and a share."
            )
        self.camera, self.ahead, self.drop = camera, ahead, drop
        super().__init__(folder, split, cameras, chunk, objects // 2, **options)

    def object_scales(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of where the objects are, (2 N, 9) each: later as now."""
        mean, std = super().object_scales()
        return mean.repeat(2, 1), std.repeat(2, 1)

    def _cut(self, index: int, t: int, rng: np.random.Generator, cameras: Sequence[str] | None = None) -> Window:
        later, step = int(rng.integers(self.ahead[0], self.ahead[1] + 1)), self.source.episodes[index].draw_every
        ahead = () if rng.random() < self.drop else (max(step, later - later % step),)  # of a frame that was drawn
        return self.source.window(index, t, chunk=self.chunk, ahead=ahead, cameras=cameras)

    def _show(self, index: int, t: int, window: Window, rng: np.random.Generator) -> dict:
        """The pictures of a sample, the goal among them."""
        now, later = window.frames[self.camera], window.future[self.camera]
        both = self._augment(np.concatenate([now[None], later]), rng)  # in the same light
        shown = super()._show(index, t, window, rng)["frames"] | {self.camera: both[0]}
        return {"frames": shown | {GOAL: both[1] if len(both) > 1 else torch.zeros_like(both[0])}}

    def _tell(self, index: int, window: Window, rng: np.random.Generator) -> dict:
        """All of a sample but its pictures; objects now and later."""
        told = super()._tell(index, window, rng)
        objects, valid = torch.zeros_like(told["objects"]), torch.zeros_like(told["object_valid"])
        if len(window.future_objects):
            found = torch.from_numpy(pose_numbers(window.future_objects[0]))
            objects[: len(found)], valid[: len(found)] = found, True
        told["objects"] = torch.cat([told["objects"], objects])
        return told | {"object_valid": torch.cat([told["object_valid"], valid])}
