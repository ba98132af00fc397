"""What is measured: models of two sizes from the YAML files in sizes/, and pairs of frames to train on.

The pairs are JPEG pictures of smooth seeded noise in a prepared folder, so that reading them costs what real frames
cost. Both ways of training start there: online from the pictures, or from the latents that are cached from them.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from formats.prepared_folder import INDEX, FramePair, write_manifest
from ldm.data.frame_pairs import collate
from ldm.data.latent_cache import build_cache
from ldm.training.config import compose
from ldm.util import instantiate_from_config

CONFIGS = Path(__file__).parent / "sizes"
SIZES = ("tiny", "full")
NUM_PAIRS = {"cuda": 512, "cpu": 64}  # on disk
JPEG_QUALITY = 95
COARSE = 16  # side of the noise that is enlarged to a picture: as smooth as frames are
MAX_WORKERS = 8
SENTENCES = ("stack blocks", "hand over the block", "beat the block with the hammer")


def read_size(size: str, *overlays: str) -> dict[str, Any]:
    """Config of a model: full.yaml, under <size>.yaml and the overlays beside them.

    Args:
        size: full is InstructPix2Pix's own, tiny a twin for CPUs.
        overlays: names of further files; the one of a size, <name>_<size>.yaml, is taken where it exists.
    """
    names = ["full", *([size] if size != "full" else [])]
    for overlay in overlays:
        names += [name for name in (overlay, f"{overlay}_{size}") if (CONFIGS / f"{name}.yaml").is_file()]
    return compose([CONFIGS / f"{name}.yaml" for name in names])


def write_pairs(folder: Path, num: int, side: int) -> Path:
    """A prepared folder of `num` pairs of `side` pixels; left as it is where it is whole already."""
    if (folder / INDEX).is_file():
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
    write_manifest(folder, pairs, {"made_by": "benchmark"})
    return folder


class Bench:
    """The place where training is measured.

    Args:
        config: of the model; see `read_size`.
        device: to run on.
        folder: for pairs and caches; temporary.
        dtype: of the forward pass, by autocast, as Lightning's mixed precisions do it.
        num_pairs: on disk; None takes the number of the device.
    """

    def __init__(
        self,
        config: dict,
        device: torch.device,
        folder: Path,
        dtype: torch.dtype | None = None,
        num_pairs: int | None = None,
    ) -> None:
        self.config = config
        self.resolution = config["resolution"]
        self.device = device
        self.folder = folder
        self.dtype = dtype or torch.get_default_dtype()
        self.num_pairs = num_pairs or NUM_PAIRS.get(device.type, NUM_PAIRS["cpu"])
        # as main.py has it
        self.num_workers = 0 if device.type == "cpu" else min(MAX_WORKERS, (os.cpu_count() or 1) - 1)

    @property
    def is_mixed(self) -> bool:
        """Whether the forward pass runs in less than the weights' precision."""
        return self.dtype != torch.get_default_dtype()

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context of forward passes."""
        return torch.autocast(self.device.type, self.dtype) if self.is_mixed else contextlib.nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Scaler of the loss; it only scales in half precision, whose small gradients would vanish."""
        return torch.amp.GradScaler(self.device.type, enabled=torch.finfo(self.dtype).smallest_normal > 1e-30)

    @property
    def node(self) -> dict[str, Any]:
        """Config node of the pairs as pictures."""
        folder = write_pairs(self.folder / "pairs", self.num_pairs, self.resolution)
        params = {"folder": str(folder), "split": "train", "resolution": self.resolution}
        return {"target": "ldm.data.frame_pairs.FramePairDataset", "params": params}

    def cached_node(self, model: nn.Module, *, frames: bool) -> dict[str, Any]:
        """Config node of the pairs as latents, made with the encoders of a model where that is not done yet."""
        folder = self.folder / ("latents_and_frames" if frames else "latents")
        if not (folder / "cache.json").is_file():
            self.build_cache(model, folder, frames=frames)
        return {"target": "ldm.data.latent_cache.CachedPairDataset", "params": {"folder": str(folder)}}

    def build_cache(self, model: nn.Module, folder: Path, *, frames: bool = False) -> None:
        """Decode and encode all pairs."""
        training = model.training
        with self.autocast():
            options = {"keep_frames": frames, "num_workers": self.num_workers}
            build_cache(model.eval(), instantiate_from_config(self.node, "data"), {}, folder, **options)
        model.train(training)

    def read(self, data: Any, rows: Sequence[int]) -> dict[str, Any]:
        """A batch of some pairs on the device, as a loader without workers makes it."""
        keys = [(i, i) for i in rows]
        batch = collate(data.__getitems__(keys) if hasattr(data, "__getitems__") else [data[key] for key in keys])
        return batch | {k: v.to(self.device) for k, v in batch.items() if torch.is_tensor(v) and k != "seed"}
