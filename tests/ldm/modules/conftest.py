"""Factories for the tests of the networks: reference outputs, small U-Nets, a byte-level CLIP tokenizer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ldm.modules.diffusionmodules.openaimodel import UNetModel

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
TINY_UNET = {
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": 1,
    "attention_resolutions": (1, 2),
    "channel_mult": (1, 2),
    "num_heads": 4,
    "context_dim": 16,
}


@pytest.fixture
def reference():
    """Reads a stored npz: its settings and arrays, and the weights under their original names."""

    def read(name):
        path = REFERENCE / name
        if not path.is_file():
            pytest.skip(f"{path} is absent")
        stored = np.load(path)
        arrays = {key: stored[key] for key in stored.files}
        weights = {key[7:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("weight/")}
        return arrays, weights

    return read


@pytest.fixture
def make_unet():
    """Makes a small U-Net with random weights everywhere, the zero-initialised layers included."""

    def make(*, scrambled=True, **changes):
        torch.manual_seed(0)
        network = UNetModel(**{**TINY_UNET, **changes})
        if scrambled:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
        return network

    return make


@pytest.fixture
def unet_inputs():
    """Makes (x, timesteps, context) for the small U-Net."""

    def make(batch=2, height=8, width=8, context_dim=16):
        torch.manual_seed(1)
        x = torch.randn(batch, 8, height, width)
        return x, torch.arange(batch) * 100 + 7, torch.randn(batch, 5, context_dim)

    return make
