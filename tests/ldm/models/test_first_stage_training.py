"""Laws of training a first stage."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.first_stage_training import AutoencoderTraining

FIRST_STAGE = {
    "target": "ldm.models.autoencoder.AutoencoderKL",
    "params": {"embed_dim": 4, "ddconfig": {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 4}},
}
L1 = {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": {"mode": "exact", "lambda_l1": 1.0}}


def make(parts, **params):
    torch.manual_seed(0)
    return AutoencoderTraining(FIRST_STAGE, L1, 2e-3, parts, **params).train()


@pytest.fixture
def frames():
    torch.manual_seed(1)
    return torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4) * 2 - 1, 16, mode="bilinear")


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def test_training_the_decoder_leaves_the_encoder_bit_identical(frames):
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


def test_all_trains_both_halves_with_the_divergence(frames):
    model = make("all", kl_weight=0.5)
    parts = model.reconstruction_loss(frames, generators())
    posterior = model.first_stage_model.encode(frames)
    torch.testing.assert_close(parts["kl"], 0.5 * posterior.kl().mean())
    (parts["reconstruction"] + parts["kl"]).backward()
    assert all(p.grad is not None for p in model.trained_parameters())


def test_one_batch_is_reconstructed(frames):
    model = make("all")
    optimizer = model.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(60):
        loss = model.reconstruction_loss(frames, generators())["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < losses[0] / 3


def test_unknown_parts_are_said():
    with pytest.raises(UserError, match="'half' is not one of decoder, all"):
        make("half")
