"""Pictures of what the averaged network predicts while it trains, and how good they are."""

import logging
from collections import Counter
from collections.abc import Mapping
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
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.modules.losses.similarity import measure_similarity

log = logging.getLogger(__name__)

LABEL_WIDTH = 92  # pixels left of the rows
MIN_CELL = 128  # pixels; smaller frames are enlarged so that a person can see them
LEAST_GRIDS = 5  # of training pairs in a run, however short


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
    """Writes images/{train,val}/step-000100.png, and logs val/psnr, val/ssim and val/psnr_motion of what it drew.

    The measures are those of metrics (PSNR in dB, over the pixels that move for psnr_motion), means over the drawn
    validation pairs. The model is asked for its rows by `log_images(batch, options)`; a row `prediction`, or else
    `reconstruction`, is what is measured against the row `truth`.

    Args:
        folder: the run's images folder.
        every_n_steps: optimiser steps between grids of training pairs; a run too short for LEAST_GRIDS of them gets
            as many at equal distances.
        max_images: columns of a grid.
        steps, text_scale, image_scale: of the sampler, as in `sampling`.
        num_scored: validation pairs of each process that are drawn and measured; None: the pairs of the grid.
    """

    def __init__(
        self,
        folder: str | Path,
        every_n_steps: int,
        max_images: int,
        steps: int,
        text_scale: float,
        image_scale: float,
        num_scored: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.max_images = max_images
        self.num_scored = max_images if num_scored is None else num_scored
        self.options = SamplingOptions(steps, text_scale, image_scale)
        self._step = 0
        self._drawn = 0
        self._sums: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed run does not repeat its last grid; a short one draws oftener."""
        self._step = trainer.global_step
        steps = trainer.estimated_stepping_batches
        if 0 < steps < LEAST_GRIDS * self.every_n_steps:
            self.every_n_steps = max(1, int(steps) // LEAST_GRIDS)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        """A grid of this batch every n optimiser steps."""
        due = trainer.global_step != self._step and trainer.global_step % self.every_n_steps == 0
        if due and trainer.is_global_zero and "target_frame" in batch:  # cached latents may have no frames
            self._write(trainer, self._draw(trainer, pl_module, batch, self.max_images), "train")
        self._step = trainer.global_step

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the sums of the measures."""
        self._drawn = 0
        self._sums.clear()
        self._counts.clear()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        """A grid of the first validation batch; measures of the first `num_scored` pairs."""
        wanted = self.num_scored - self._drawn
        if batch_idx == 0:
            wanted = max(wanted, self.max_images)
        if wanted < 1 or trainer.sanity_checking:
            return
        rows = self._draw(trainer, pl_module, batch, wanted)
        self._drawn += len(rows["truth"])
        if batch_idx == 0:
            self._write(trainer, {name: frames[: self.max_images] for name, frames in rows.items()}, "val")
        found = to_uint8(rows["prediction" if "prediction" in rows else "reconstruction"])
        source = to_uint8(rows["input"]) if "input" in rows else None
        for name, values in measure_similarity(found, to_uint8(rows["truth"]), source).items():
            known = values[values.isfinite()]
            self._sums[name] += float(known.sum())
            self._counts[name] += len(known)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the means over all processes; a measure that no pair has (nothing moved) is not logged."""
        for name in () if trainer.sanity_checking else self._sums:
            both = torch.tensor([self._sums[name], self._counts[name]], device=pl_module.device)
            total, count = trainer.strategy.reduce(both, reduce_op="sum").tolist()
            if count:
                pl_module.log(f"val/{name}", total / count, sync_dist=True)

    def _draw(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: dict, max_images: int
    ) -> dict[str, Tensor]:
        """The model's rows of the first pairs of a batch; nothing that training draws is touched."""
        was_training = pl_module.training
        pl_module.eval()
        few = {name: value[:max_images] for name, value in batch.items()}
        with torch.random.fork_rng(devices=[]), trainer.precision_plugin.forward_context():
            rows = pl_module.log_images(few, self.options)
        pl_module.train(was_training)
        return rows

    @rank_zero_only
    def _write(self, trainer: pl.Trainer, rows: Mapping[str, Tensor], split: str) -> None:
        path = self.folder / split / f"step-{trainer.global_step:06d}.png"
        grid = make_grid(rows)
        with atomic_path(path) as draft:
            grid.save(draft)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(f"{split}/grid", [str(path)], step=trainer.global_step)
        log.info("wrote %s", path)
