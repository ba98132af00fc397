"""FramePairDataset: pairs of a prepared folder as tensors; knows no model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from commands.errors import MissingFileError
from formats.pictures import read_picture, resize_square
from formats.prepared_folder import FramePair, read_manifest
from ldm.data.batch import FrameSample
from ldm.data.pixels import array_to_tensor, to_signed, unit_to_signed
from ldm.data.stream import sample_seed
from ldm.util import instantiate_from_config


def read_pair_picture(path: Path, resolution: int | None = None) -> np.ndarray:
    """RGB picture as uint8 (H, W, 3), squashed to a square of `resolution` where that is given.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if it is no picture or is cut short.
    """
    try:
        return resize_square(read_picture(path).pixels, resolution)
    except MissingFileError:
        raise MissingFileError(f"no picture {path}; it is named by the folder's index. Prepare it again.") from None


class FramePairDataset(Dataset):
    """Pairs of one split, resized to a square, in [-1, 1].

    Args:
        folder: prepared folder, or any InstructPix2Pix data set.
        split: train, val or test; None takes all.
        resolution: side of the square, in pixels.
        max_samples: take only so many pairs, drawn once by a fixed seed; None takes all.
        augmentation_config: node of PairedAugmentation, or None.
        neighbours_config: node of Neighbours, whose frames come with each pair and are augmented as it is, or None.
        neighbour_skip: probability of passing over a neighbour, so that training sees others than the nearest.
        keep_in_memory: decode each picture once and keep its uint8 pixels; 2 x 3 x resolution^2 bytes a pair.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str | None,
        resolution: int,
        max_samples: int | None = None,
        augmentation_config: Mapping | None = None,
        neighbours_config: Mapping | None = None,
        neighbour_skip: float = 0.0,
        *,
        keep_in_memory: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.resolution = resolution
        self.pairs: list[FramePair] = choose_pairs(read_manifest(self.folder, split), max_samples)
        self.augmentation = (
            instantiate_from_config(augmentation_config, "augmentation_config") if augmentation_config else None
        )
        self.neighbours = instantiate_from_config(neighbours_config, "neighbours_config") if neighbours_config else None
        self.neighbour_skip = neighbour_skip
        self._ranked: dict[int, list[FramePair]] = {}
        self._kept: dict[tuple[Path, int], Tensor] | None = {} if keep_in_memory else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: int | tuple[int, ...]) -> FrameSample:
        """Sample by index; by (index, seed) or (index, seed, resolution) as the training stream asks."""
        index, seed, *rest = key if isinstance(key, tuple) else (key, key)
        resolution = rest[0] if rest else self.resolution
        pair = self.pairs[index]
        paths = (pair.source_path(self.folder), pair.target_path(self.folder))
        pixels = torch.stack([self._pixels(path, resolution) for path in paths])
        if self.neighbours is not None:
            pixels = torch.cat([pixels, self._read_neighbours(index, seed, resolution)])
        frames, instruction = to_signed(pixels), pair.instruction
        if self.augmentation is not None:
            # A seed of its own: the model draws timestep, noise and dropout of this sample by `seed` itself.
            generator = torch.Generator().manual_seed(sample_seed(seed, 1))
            unit, instruction = self.augmentation(pixels.float() / 255.0, instruction, generator)
            frames = unit_to_signed(unit)
        sample: FrameSample = {
            "source_frame": frames[0],
            "target_frame": frames[1],
            "instruction": instruction,
            "pair_id": pair.pair_id,
            "seed": seed,
        }
        if self.neighbours is not None:
            sample["neighbour_frames"] = frames[2:]
        return sample if pair.horizon_seconds is None else {**sample, "seconds": pair.horizon_seconds}

    @property
    def pair_ids(self) -> list[str]:
        """Names of the pairs in order."""
        return [pair.pair_id for pair in self.pairs]

    def _read_neighbours(self, index: int, seed: int, resolution: int) -> Tensor:
        """Frames of the neighbours of a pair, uint8 (2 K, 3, S, S); its own episode's are none."""
        if index not in self._ranked:
            pair = self.pairs[index]
            frame = read_pair_picture(pair.source_path(self.folder))
            self._ranked[index] = self.neighbours.rank(frame, pair.instruction, (pair.task, pair.episode))
        ranked = self._ranked[index]
        draws = torch.rand(len(ranked), generator=torch.Generator().manual_seed(sample_seed(seed, 2)))
        return self.neighbours.read(ranked, resolution, draws < self.neighbour_skip)

    def _pixels(self, path: Path, resolution: int) -> Tensor:
        """uint8 (3, S, S) pixels of a picture."""
        if self._kept is None:
            return array_to_tensor(read_pair_picture(path, resolution))
        key = (path, resolution)
        if key not in self._kept:
            self._kept[key] = array_to_tensor(read_pair_picture(path, resolution))
        return self._kept[key]


def choose_pairs(pairs: list[FramePair], max_samples: int | None) -> list[FramePair]:
    """At most `max_samples` of the pairs, drawn by a fixed seed, in their old order."""
    if max_samples is None or max_samples >= len(pairs):
        return pairs
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    return [pairs[i] for i in sorted(order[:max_samples].tolist())]


def collate(samples: list[FrameSample] | dict) -> dict:
    """FrameBatch of samples, with every tensor that they have; a batch that comes whole, from cached latents, stays as
    it is.
    """
    if isinstance(samples, dict):
        return samples
    batch = {
        "instruction": [s["instruction"] for s in samples],
        "pair_id": [s["pair_id"] for s in samples],
        "seed": torch.tensor([s["seed"] for s in samples], dtype=torch.int64),
    }
    if all("seconds" in s for s in samples):
        batch["seconds"] = torch.tensor([s["seconds"] for s in samples])
    tensors = [name for name, value in samples[0].items() if isinstance(value, Tensor)]
    return batch | {name: torch.stack([s[name] for s in samples]) for name in tensors}
