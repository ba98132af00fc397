"""A resumed run takes the same samples in each step, or does not resume.

Global batch k of the stream holds the same samples however they are shared out among processes (see ldm.data.stream),
so a run may go on with other devices as long as batch size x processes stays: it then differs by the rounding of
averages, and by the dropout masks of the U-Net where it has dropout. Anything else would change every later step:
other batches, another seed, other training pairs. A test of a saved run takes no steps, and is not compared.
"""

import hashlib
import logging

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from commands.errors import UserError

log = logging.getLogger(__name__)

KEY = "batches"
SAMPLES_KEY = "samples"
NEW_RUN = "or start a new run from its weights: pretrained.path=<checkpoint>"


class SameBatches(pl.Callback):
    """Keeps in each checkpoint what decides the samples of each step and how they were shared out; compares both."""

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Processes, samples of each in a micro-batch, and micro-batches of a step; seed and training pairs."""
        checkpoint[KEY] = read_batches(trainer)
        checkpoint[SAMPLES_KEY] = read_samples(trainer)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Refuse other samples and other batches; an older checkpoint that does not say is left to the stream.

        Raises:
            UserError: says what was, what is, and what to set.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if SAMPLES_KEY in checkpoint:
            compare_samples(checkpoint[SAMPLES_KEY], read_samples(trainer))
        if KEY in checkpoint:
            self._compare_batches(checkpoint[KEY], read_batches(trainer))

    def _compare_batches(self, was: dict[str, int], now: dict[str, int]) -> None:
        if was == now:
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
        raise UserError(
            f"the run was saved with {describe(was)} and would go on with {describe(now)}, so that its steps would see "
            f"other samples. Resume with the same batch size and devices, here {mend}; {NEW_RUN}"
        )


def compare_samples(was: dict[str, int | str], now: dict[str, int | str]) -> None:
    """Refuse another order: the stream is a function of the seed and of the list of pairs.

    Raises:
        UserError: says what was, what is, and what to set.
    """
    if was != now:
        raise UserError(
            f"the run was saved with {describe_samples(was)} and would go on with {describe_samples(now)}, so that its "
            f"steps would see other samples. Resume with the same seed and the same prepared folder; {NEW_RUN}"
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


def read_samples(trainer: pl.Trainer) -> dict[str, int | str]:
    """What decides which sample comes when: the seed, how many training pairs there are, and a digest of their ids."""
    data = trainer.datamodule
    dataset = data.datasets["train"]
    ids = "\n".join(getattr(dataset, "pair_ids", []))  # a data set of the reader's own may have none
    return {"seed": data.seed, "pairs": len(dataset), "list": hashlib.sha256(ids.encode()).hexdigest()[:12]}


def describe_samples(samples: dict[str, int | str]) -> str:
    """Such as `seed 23 and 240 training pairs (list 0a1b2c3d4e5f)`."""
    return f"seed {samples['seed']} and {samples['pairs']} training pairs (list {samples['list']})"
