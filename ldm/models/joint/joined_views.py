"""Several cameras as one, joined by channel: how UVA (arXiv 2503.00200) takes them, for comparison with adapters.

Every picture is brought to one side and stacked on the others, so that a token holds the same place of all of them.
What that costs shows in the shapes: no view can be absent for the network (it is grey instead), or told alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ldm.data.joint_windows import JointBatch

JOINED = "views"  # the one camera of the network


@dataclass(frozen=True)
class JoinedViews:
    """Cameras of a batch and the one of a network.

    Args:
        cameras: camera => side of its pictures in pixels, in the order in which they are joined.
        side: of the joined pictures; a multiple or a divisor of the others loses least.
    """

    cameras: Mapping[str, int]
    side: int

    def join(self, batch: JointBatch) -> JointBatch:
        """A batch whose one camera is JOINED, with pictures (B, T, 3 V, side, side); one that has it stays."""
        if JOINED in batch["frames"]:
            return batch
        joined = {name: {JOINED: self._stack(batch[name])} for name in ("frames", "future") if name in batch}
        for name in ("view_valid", "future_valid"):
            if name in batch:
                joined[name] = {JOINED: torch.stack([batch[name][camera] for camera in self.cameras]).any(dim=0)}
        return {**batch, **joined}

    def split(self, frames: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pictures (B, T, 3, S, S) of each camera, of joined ones; nothing of nothing."""
        if JOINED not in frames:
            return {}
        parts = frames[JOINED].split(3, dim=2)
        return {camera: _resize(part, side) for (camera, side), part in zip(self.cameras.items(), parts, strict=True)}

    def _stack(self, frames: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([_resize(frames[camera], self.side) for camera in self.cameras], dim=2)


def _resize(frames: Tensor, side: int) -> Tensor:
    """Pictures (B, T, 3, S, S) with another side: pixels repeated, or averaged."""
    if frames.shape[-1] == side:
        return frames
    flat = rearrange(frames, "b t c h w -> (b t) c h w")
    way = "nearest" if side > frames.shape[-1] else "area"
    return functional.interpolate(flat, size=(side, side), mode=way).unflatten(0, frames.shape[:2])
