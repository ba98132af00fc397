"""Laws of training a first stage."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.first_stage_training import AutoencoderTraining

L1 = {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": {"mode": "exact", "lambda_l1": 1.0}}


@pytest.fixture
def make(kl_node):
    def model(parts, **params):
        torch.manual_seed(0)
        return AutoencoderTraining(kl_node(), L1, 2e-3, parts, **params).train()

    return model


@pytest.fixture
def frames():
    torch.manual_seed(1)
    return torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4) * 2 - 1, 16, mode="bilinear")


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def test_training_the_decoder_leaves_the_encoder_bit_identical(make, frames):
    model = make("decoder")
    before = {name: value.clone() for name, value in model.first_stage_model.state_dict().items()}
    optimizer = model.configure_optimizers()["optimizer"]
    for _ in range(2):
        model.reconstruction_loss(frames, generators())["reconstruction"].backward()
        optimizer.step()
    after = model.first_stage_model.state_dict()
    frozen = {name for name in before if name.startswith(("encoder.", "quant_conv."))}
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in set(before) - frozen)
    assert not model.first_stage_model.encoder.training and model.first_stage_model.decoder.training


def test_all_trains_both_halves_with_the_divergence(make, frames):
    model = make("all", kl_weight=0.5)
    parts = model.reconstruction_loss(frames, generators())
    posterior = model.first_stage_model.encode(frames)
    torch.testing.assert_close(parts["kl"], 0.5 * posterior.kl().mean())
    (parts["reconstruction"] + parts["kl"]).backward()
    assert all(p.grad is not None for p in model.trained_parameters())
    with pytest.raises(UserError, match="'half' is not one of decoder, all"):
        make("half")


def test_one_batch_is_reconstructed(make, frames):
    model = make("all")
    optimizer = model.configure_optimizers()["optimizer"]
    first = None
    for _ in range(60):
        loss = model.reconstruction_loss(frames, generators())["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first or loss.item()
        if loss.item() < first / 3:
            return
    raise AssertionError(f"{first} fell to {loss.item()} only")
