"""What the tests of models share."""

import pytest
import torch

from ldm.training.build import build_trained_model


@pytest.fixture
def make_model(tiny_model_config):
    """Makes the tiny model as it trains; changes are parameters of LatentDiffusion."""

    def make(**params):
        torch.manual_seed(0)
        return build_trained_model({**tiny_model_config, "params": tiny_model_config["params"] | params})

    return make


@pytest.fixture
def make_batch():
    """Makes a batch of random frames with two sentences in turns."""

    def make(num=4, size=8):
        source, target = torch.rand(2, num, 3, size, size, generator=torch.Generator().manual_seed(3)) * 2 - 1
        return {
            "source_frame": source,
            "target_frame": target,
            "instruction": ["stack blocks", "handover the blocks"] * (num // 2),
            "pair_id": [f"task/0/{i}" for i in range(num)],
            "seed": torch.arange(num) + 100,
        }

    return make


@pytest.fixture
def loss_of(make_batch):
    """The denoising loss of a model on a batch, by the batch's own seeds; without one, on two pairs."""

    def compute(model, batch=None, dropout=0.0):
        batch = batch or make_batch(2)
        draws = model.draw(batch)
        x_start, cond = model.get_input(batch, draws, dropout)
        return model.p_losses(x_start, cond, draws.t, draws.eps)

    return compute
