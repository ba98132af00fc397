"""Training pairs that look like a given frame: a look-up that a network may correct.

The same search serves training, which leaves the frame's own episode out, and prediction.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from commands.errors import MissingFileError, UserError
from formats.prepared_folder import FramePair, read_manifest
from ldm.data.frame_pairs import read_pair_picture
from ldm.data.pixels import array_to_tensor

COMPARED = 64  # pixels a side at which frames are blurred before they are compared
BLUR = 4.0  # standard deviation, pixels: places of small objects compare though they do not overlap
KEPT = 16  # pixels a side that such a blur leaves something to say in

Episode = tuple[str | None, int | None]  # task and number


class Neighbours:
    """The pairs of a prepared folder whose current frames are nearest to a frame, among those with its sentence.

    Args:
        folder: prepared folder to look up in.
        split: of it; None takes all.
        count: K, neighbours of a frame.
    """

    def __init__(self, folder: str | Path, split: str | None, count: int) -> None:
        if count < 1:
            raise UserError(f"neighbours_config: count {count}; wanted at least 1.")
        self.folder = Path(folder)
        self.split = split
        self.count = count
        self._kept: dict[tuple[Path, int], Tensor] = {}

    @cached_property
    def pairs(self) -> list[FramePair]:
        """Pairs to choose from, read when the first is wanted.

        Raises:
            MissingFileError: if there is no such folder.
        """
        try:
            return read_manifest(self.folder, self.split)
        except MissingFileError as error:
            raise MissingFileError(
                f"this model looks up training pairs, and {self.folder} holds none ({str(error).splitlines()[0]}); "
                "give a --config whose neighbours.params.folder is where they lie."
            ) from error

    @cached_property
    def _looks(self) -> np.ndarray:
        return np.stack([describe_look(read_pair_picture(pair.source_path(self.folder))) for pair in self.pairs])

    def settings(self) -> dict[str, str | int]:
        """What predictions depend on: the pairs to choose from, and how many are taken."""
        return {"neighbours": self.count, "neighbours_sha256": hashlib.sha256(repr(self.pairs).encode()).hexdigest()}

    def rank(self, frame: np.ndarray, instruction: str, episode: Episode | None = None) -> list[FramePair]:
        """Pairs of the same sentence, the nearest first; of all sentences, where no pair has this one.

        Args:
            frame: uint8 (H, W, 3) RGB.
            instruction: its sentence.
            episode: whose pairs, of whatever camera, are left out; None leaves none out.

        Raises:
            UserError: if no pair is left.
        """
        said = {pair.instruction for pair in self.pairs}
        open_to = [
            i
            for i, pair in enumerate(self.pairs)
            if (pair.instruction == instruction or instruction not in said)
            and (episode is None or None in episode or (pair.task, pair.episode) != episode)
        ]
        if not open_to:
            raise UserError(f"{self.folder} has no pairs of other episodes to look up in; prepare more episodes.")
        distances = np.square(self._looks[open_to] - describe_look(frame)).sum(axis=1)
        return [self.pairs[open_to[i]] for i in np.argsort(distances, kind="stable")]

    def read(self, ranked: list[FramePair], resolution: int, skip: Tensor | None = None) -> Tensor:
        """Current and future frame of each of the K nearest, uint8 (2 K, 3, S, S).

        Args:
            ranked: of `rank`; the last is repeated where there are fewer than K.
            resolution: S.
            skip: (len(ranked),) True for pairs to pass over while K are left.
        """
        spare = max(0, len(ranked) - self.count)
        left_out = [] if skip is None else [i for i, out in enumerate(skip.tolist()) if out][:spare]
        chosen = [pair for i, pair in enumerate(ranked) if i not in set(left_out)][: self.count]
        chosen += chosen[-1:] * (self.count - len(chosen))
        return torch.stack([self._pixels(path, resolution) for pair in chosen for path in pair.paths(self.folder)])

    def _pixels(self, path: Path, resolution: int) -> Tensor:
        key = (path, resolution)
        if key not in self._kept:
            self._kept[key] = array_to_tensor(read_pair_picture(path, resolution))
        return self._kept[key]


def describe_look(frame: np.ndarray) -> np.ndarray:
    """What frames are compared by: float32 (3 * KEPT^2,) of a frame uint8 (H, W, 3), blurred."""
    small = Image.fromarray(frame).resize((COMPARED, COMPARED), Image.Resampling.BOX)
    blurred = small.filter(ImageFilter.GaussianBlur(BLUR)).resize((KEPT, KEPT), Image.Resampling.BOX)
    return np.asarray(blurred, dtype=np.float32).reshape(-1)
