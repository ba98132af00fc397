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
