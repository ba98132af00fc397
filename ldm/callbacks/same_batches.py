"""A resumed run takes the same samples in each step, or does not resume. Layer 6.

Global batch k of the stream holds the same samples however they are shared out among processes (see ldm.data.stream),
so a run may go on with other devices as long as batch size x processes stays: it then differs by the rounding of
averages, and by the dropout masks of the U-Net where it has dropout. Anything else would change every later step.
"""

import logging

import pytorch_lightning as pl

from ldm.util import ConfigError

log = logging.getLogger(__name__)

KEY = "batches"


class SameBatches(pl.Callback):
    """Keeps in each checkpoint how a step's samples were shared out, and compares at a resume."""

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Processes, samples of each in a micro-batch, and micro-batches of a step."""
        checkpoint[KEY] = read_batches(trainer)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Refuse other batches.

        Raises:
            ConfigError: says what was, what is, and what to set.
        """
        was, now = checkpoint.get(KEY), read_batches(trainer)
        if was is None or was == now:
            return
        together = was["processes"] * was["batch_size"]
        if together == now["processes"] * now["batch_size"] and was["accumulated"] == now["accumulated"]:
            log.warning(
                "the run was saved with %s and goes on with %s: the same samples in each step; results agree with the "
                "uninterrupted run up to rounding and dropout masks.",
                describe(was),
                describe(now),
            )
            return
        share, rest = divmod(together, now["processes"])
        mend = f"data.params.batch_size={share} --accumulate_grad_batches {was['accumulated']}"
        mend = f"as many processes as it had, {was['processes']}" if rest else mend
        raise ConfigError(
            f"the run was saved with {describe(was)} and would go on with {describe(now)}, so that its steps would see "
            f"other samples. Resume with the same batch size and devices, here {mend}; or start a new run from its "
            "weights: pretrained.path=<checkpoint>"
        )


def read_batches(trainer: pl.Trainer) -> dict[str, int]:
    """How this run shares out a step's samples."""
    return {
        "processes": trainer.world_size,
        "batch_size": trainer.datamodule.batch_size,
        "accumulated": trainer.accumulate_grad_batches,
    }


def describe(batches: dict[str, int]) -> str:
    """Such as `2 process(es) x batch size 4 x 8 accumulated = 64 samples a step`."""
    total = batches["processes"] * batches["batch_size"] * batches["accumulated"]
    return (
        f"{batches['processes']} process(es) x batch size {batches['batch_size']} x {batches['accumulated']} "
        f"accumulated = {total} samples a step"
    )
