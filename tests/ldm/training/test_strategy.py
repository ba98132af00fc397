"""Laws of the word that says how processes share a run; whole runs are in tests/test_resume.py."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.trained_parts import make_adamw
from ldm.training.strategy import lightning_strategy, shards_moments


@pytest.mark.parametrize(
    ("devices", "strategy", "lightnings", "sharded"),
    [(2, "zero", "ddp", True), (1, "zero", "auto", False), (2, "ddp", "ddp", False), (2, None, None, False)],
)
def test_zero_is_ddp_with_moments_in_shards(devices, strategy, lightnings, sharded):
    trainer = {"accelerator": "cpu", "devices": devices} | ({"strategy": strategy} if strategy else {})
    assert lightning_strategy(trainer).get("strategy") == lightnings and shards_moments(trainer) is sharded


def test_weights_in_shards_are_refused_with_what_is_there_instead():
    for word in ("fsdp", "fsdp_cpu_offload", "deepspeed_stage_2"):
        with pytest.raises(UserError, match=f"{word} puts the weights in shards, .* set strategy=zero"):
            lightning_strategy({"strategy": word})
    with pytest.raises(UserError, match="moments of 8 bits are not put in shards"):
        make_adamw([torch.nn.Parameter(torch.zeros(2))], 1e-3, 0.0, 8, sharded=True)
