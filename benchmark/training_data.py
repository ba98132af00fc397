"""What all timed training steps share: a device, a precision, the networks' sizes, and synthetic pairs on disk.

The pairs are JPEG pictures of smooth seeded noise in a prepared folder, so that reading them costs what real frames
cost. Both ways of training start there: online from the pictures, or from the latents that are cached from them.
The library's data sets are named by dotted path, as in configs.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from formats.prepared_folder import FramePair, write_manifest
from ldm.util import get_obj_from_str, instantiate_from_config

JPEG_QUALITY = 95
COARSE = 16  # side of the noise that is enlarged to a picture: as smooth as frames are
MAX_WORKERS = 8
SENTENCES = ("stack blocks", "hand over the block", "beat the block with the hammer")


def write_pairs(folder: Path, num: int, side: int) -> Path:
    """A prepared folder of `num` pairs of `side` pixels; left as it is where it is whole already."""
    if (folder / "index.jsonl").is_file():
        return folder
    chance = np.random.default_rng(0)
    pairs = []
    for i in range(num):
        pair = FramePair(f"noise/{i}/0-1", f"{i:07d}", "000000", SENTENCES[i % len(SENTENCES)], split="train")
        (folder / pair.sample).mkdir(parents=True, exist_ok=True)
        for path in (pair.source_path(folder), pair.target_path(folder)):
            picture = Image.fromarray(chance.integers(0, 256, (COARSE, COARSE, 3), np.uint8))
            picture.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=JPEG_QUALITY)
        pairs.append(pair)
    write_manifest(folder, pairs, {"made_by": "benchmark.training_data"})
    return folder


class Bench:
    """The place where cases are measured.

    Args:
        size: of the networks; see training_cases.SIZES.
        device: to run on.
        folder: for pairs and caches; temporary.
        dtype: of the forward pass, by autocast, as Lightning's mixed precisions do it.
        num_pairs: on disk.
    """

    def __init__(
        self,
        size: Mapping[str, Any],
        device: torch.device,
        folder: Path,
        dtype: torch.dtype | None = None,
        num_pairs: int = 64,
    ) -> None:
        self.size = size
        self.device = device
        self.folder = folder
        self.dtype = dtype or torch.get_default_dtype()
        self.num_pairs = num_pairs
        self.num_workers = (
            0 if device.type == "cpu" else min(MAX_WORKERS, (os.cpu_count() or 1) - 1)
        )  # as main.py has it

    @property
    def is_mixed(self) -> bool:
        """Whether the forward pass runs in less than the weights' precision."""
        return self.dtype != torch.get_default_dtype()

    def autocast(self) -> contextlib.AbstractContextManager:
        """Around forward passes."""
        return torch.autocast(self.device.type, self.dtype) if self.is_mixed else contextlib.nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Of the loss; it only scales in half precision, whose small gradients would vanish."""
        return torch.amp.GradScaler(self.device.type, enabled=torch.finfo(self.dtype).smallest_normal > 1e-30)

    @property
    def node(self) -> dict[str, Any]:
        """Config node of the pairs as pictures."""
        folder = write_pairs(self.folder / "pairs", self.num_pairs, self.size["resolution"])
        params = {"folder": str(folder), "split": "train", "resolution": self.size["resolution"]}
        return {"target": "ldm.data.frame_pairs.FramePairDataset", "params": params}

    def cached_node(self, model: nn.Module, *, frames: bool) -> dict[str, Any]:
        """Config node of the pairs as latents, made with the encoders of a model where that is not done yet."""
        folder = self.folder / ("latents_and_frames" if frames else "latents")
        if not (folder / "cache.json").is_file():
            self.build_cache(model, folder, frames=frames)
        return {"target": "ldm.data.latent_cache.CachedPairDataset", "params": {"folder": str(folder)}}

    def build_cache(self, model: nn.Module, folder: Path, *, frames: bool = False) -> None:
        """Decode and encode all pairs."""
        build = get_obj_from_str("ldm.data.latent_cache.build_cache")
        training = model.training
        with self.autocast():
            options = {"keep_frames": frames, "num_workers": self.num_workers}
            build(model.eval(), instantiate_from_config(self.node, "data"), {}, folder, **options)
        model.train(training)

    def read(self, data: Any, rows: Sequence[int]) -> dict[str, Any]:
        """A batch of some pairs on the device, as a loader without workers makes it."""
        keys = [(i, i) for i in rows]
        whole = data.__getitems__(keys) if hasattr(data, "__getitems__") else [data[key] for key in keys]
        batch = get_obj_from_str("ldm.data.frame_pairs.collate")(whole)
        moved = {name: v.to(self.device) for name, v in batch.items() if torch.is_tensor(v) and name != "seed"}
        return batch | moved
