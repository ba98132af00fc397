"""Picture grids while training: one row each for input, truth, reconstruction and prediction."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from einops import rearrange
from PIL import Image, ImageDraw
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from formats.atomic import atomic_path
from ldm.data.pixels import tensor_to_array, to_uint8
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.guidance import DualGuidance

log = logging.getLogger(__name__)

LABEL_WIDTH = 92  # pixels left of the rows
MIN_CELL = 128  # pixels; smaller frames are enlarged so that a person can see them


def make_grid(rows: Mapping[str, Tensor]) -> Image.Image:
    """One picture of named rows.

    Args:
        rows: name to frames (N, 3, H, W) in [-1, 1], the same N, H and W in all.
    """
    strips = [tensor_to_array(to_uint8(rearrange(frames, "n c h w -> c h (n w)"))) for frames in rows.values()]
    height = strips[0].shape[0]
    scale = max(1, round(MIN_CELL / height))
    canvas = np.concatenate(strips).repeat(scale, axis=0).repeat(scale, axis=1)
    grid = Image.new("RGB", (LABEL_WIDTH + canvas.shape[1], canvas.shape[0]), "white")
    grid.paste(Image.fromarray(canvas), (LABEL_WIDTH, 0))
    draw = ImageDraw.Draw(grid)
    for i, name in enumerate(rows):
        draw.text((6, i * height * scale + 6), name, fill="black")
    return grid


class ImageLogger(pl.Callback):
    """Writes images/{train,val}/step-000100.png: what the averaged network predicts.

    Args:
        folder: the run's images folder.
        every_n_steps: optimiser steps between grids of training pairs.
        max_images: columns.
        steps, text_scale, image_scale: of the sampler, as in `sampling`.
    """

    def __init__(
        self, folder: str | Path, every_n_steps: int, max_images: int, steps: int, text_scale: float, image_scale: float
    ) -> None:
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.max_images = max_images
        self.steps = steps
        self.guidance = partial(DualGuidance, text_scale=text_scale, image_scale=image_scale)
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed run does not repeat its last grid."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        """A grid of this batch every n optimiser steps."""
        due = trainer.global_step != self._step and trainer.global_step % self.every_n_steps == 0
        if due and "target_frame" in batch:  # cached latents have no frames
            self._write(trainer, pl_module, batch, "train")
        self._step = trainer.global_step

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        """A grid of the first validation batch."""
        if batch_idx == 0 and not trainer.sanity_checking:
            self._write(trainer, pl_module, batch, "val")

    @rank_zero_only
    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: dict, split: str) -> None:
        was_training = pl_module.training
        pl_module.eval()
        with torch.random.fork_rng(devices=[]), trainer.precision_plugin.forward_context():
            schedule = getattr(pl_module, "schedule", None)  # an autoencoder has none and samples nothing
            sampler = DDIMSampler(schedule, self.steps) if schedule is not None else None
            rows = pl_module.log_images(batch, sampler, self.guidance, self.max_images)
        pl_module.train(was_training)
        path = self.folder / split / f"step-{trainer.global_step:06d}.png"
        grid = make_grid(rows)
        with atomic_path(path) as draft:
            grid.save(draft)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(f"{split}/grid", [str(path)], step=trainer.global_step)
        log.info("wrote %s", path)
