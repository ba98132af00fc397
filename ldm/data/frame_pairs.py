"""FramePairDataset: pairs of a prepared folder as tensors.

Layer 1: imports layer 0, PIL and torch; knows no model.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from ldm.data.batch import FrameSample
from ldm.data.manifest import FramePair, read_manifest
from ldm.data.pixels import array_to_tensor, to_signed


def read_picture(path: Path, resolution: int | None = None) -> np.ndarray:
    """RGB picture as uint8 (H, W, 3), resized to a square of `resolution` where that is given.

    Resizing squashes the aspect ratio, as InstructPix2Pix's training does, with a Lanczos filter.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture or is cut short.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"no picture {path}; it is named by the folder's index. Prepare it again.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is not a readable picture ({error}).") from error
    if resolution is not None and picture.size != (resolution, resolution):
        picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(picture)


class FramePairDataset(Dataset):
    """Pairs of one split, resized to a square, in [-1, 1].

    Args:
        folder: prepared folder, or any InstructPix2Pix data set.
        split: train, val or test; None takes all.
        resolution: side of the square, in pixels.
        keep_in_memory: decode each picture once and keep its uint8 pixels; 2 x 3 x resolution^2 bytes a pair.
    """

    def __init__(self, folder: str | Path, split: str | None, resolution: int, *, keep_in_memory: bool = False) -> None:
        self.folder = Path(folder)
        self.resolution = resolution
        self.pairs: list[FramePair] = read_manifest(self.folder, split)
        self._kept: dict[Path, Tensor] | None = {} if keep_in_memory else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: int | tuple[int, int]) -> FrameSample:
        """Sample by index, or by (index, seed) as the training stream asks."""
        index, seed = key if isinstance(key, tuple) else (key, key)
        pair = self.pairs[index]
        return {
            "source_frame": to_signed(self._pixels(pair.source_path(self.folder))),
            "target_frame": to_signed(self._pixels(pair.target_path(self.folder))),
            "instruction": pair.instruction,
            "pair_id": pair.pair_id,
            "seed": seed,
        }

    def _pixels(self, path: Path) -> Tensor:
        """uint8 (3, S, S) pixels of a picture."""
        if self._kept is None:
            return array_to_tensor(read_picture(path, self.resolution))
        if path not in self._kept:
            self._kept[path] = array_to_tensor(read_picture(path, self.resolution))
        return self._kept[path]

    def load_all(self) -> None:
        """Decode every picture now, so that workers share the pixels; only with keep_in_memory."""
        if self._kept is not None:
            for pair in self.pairs:
                self._pixels(pair.source_path(self.folder))
                self._pixels(pair.target_path(self.folder))


def collate(samples: list[FrameSample]) -> dict:
    """FrameBatch of samples."""
    return {
        "source_frame": torch.stack([s["source_frame"] for s in samples]),
        "target_frame": torch.stack([s["target_frame"] for s in samples]),
        "instruction": [s["instruction"] for s in samples],
        "pair_id": [s["pair_id"] for s in samples],
        "seed": torch.tensor([s["seed"] for s in samples], dtype=torch.int64),
    }
