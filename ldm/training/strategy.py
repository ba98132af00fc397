"""How several processes share a run: `lightning.trainer.strategy`, one word.

Lightning's own words, and `zero`: each process holds the whole network, and the moments of its share of the parameters
only (ZeRO stage 1, arXiv 1910.02054), the largest part of a full-size run. A checkpoint holds all moments, so a run
goes on with any number of processes, with `zero` or without.
"""

from collections.abc import Mapping
from typing import Any

from commands.errors import UserError
from ldm.training.launcher import count_processes

ZERO = "zero"
SHARDED_WEIGHTS = ("fsdp", "deepspeed", "model_parallel")  # Lightning's words for networks in shards


def shards_moments(trainer: Mapping[str, Any]) -> bool:
    """Whether the optimiser's moments are shared out among the processes that Trainer arguments make."""
    return trainer.get("strategy") == ZERO and count_processes(trainer) > 1


def lightning_strategy(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Trainer arguments with a strategy that Lightning knows.

    Raises:
        UserError: if the weights themselves were to be shared out.
    """
    word = trainer.get("strategy")
    if str(word).startswith(SHARDED_WEIGHTS):
        raise UserError(
            f"lightning.trainer.strategy: {word} puts the weights in shards, from which neither their moving average "
            "nor a checkpoint for another number of processes can be made here; set strategy=zero, which shards the "
            "optimiser's moments, and optimizer_bits: 8 or trainable_config where that is not enough."
        )
    if word != ZERO:
        return dict(trainer)
    return {**trainer, "strategy": "ddp" if count_processes(trainer) > 1 else "auto"}
