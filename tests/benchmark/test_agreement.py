"""Laws of the agreement and the cost of the gated image loss."""

import math

import pytest
import torch

from benchmark import agreement as cases
from benchmark.training_steps import tiny_decoder
from ldm.training.build import build_trained_model
from ldm.util import instantiate_from_config

CPU = torch.device("cpu")
L1 = {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": {"mode": "exact", "lambda_l1": 1.0}}
STABLE = {  # a first stage of Stable Diffusion's shape
    "target": "ldm.models.autoencoder.AutoencoderKL",
    "params": {"embed_dim": 4, "ddconfig": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4}},
}


@pytest.fixture
def model(tiny_model_config):
    torch.manual_seed(0)
    return build_trained_model(tiny_model_config).eval()


def losses(share=0.5, crop=2):
    nodes = cases.make_modes(L1, share, crop, None)
    return {name: instantiate_from_config(node) for name, node in nodes.items()}


def test_gated_with_every_sample_whole_is_exact(model):
    """Cosine 1 and length 1 at every noise level, and in a batch whose share is everything."""
    batch = cases.make_noise(4, 8, CPU)
    rows = cases.measure_levels(model, losses(), batch, crops=2)
    whole = [found["gated, whole frames"] for _, found in rows]
    whole.append(cases.measure_batches(model, losses(share=1.0), batch, 2, 2)["gated, whole frames"])
    for a in whole:
        assert (a.cosine, a.cosine_of_mean, a.length) == pytest.approx((1.0, 1.0, 1.0), abs=1e-5)
        assert a.spread == pytest.approx(0.0, abs=1e-5)


def test_the_quarters_cover_all_levels(model):
    rows = cases.measure_levels(model, losses(), cases.make_noise(2, 8, CPU), crops=1)
    assert [level for levels, _ in rows for level in levels] == list(range(1000))
    points = [cases.predict(model, cases.make_noise(16, 8, CPU), levels, 3) for levels, _ in rows]
    assert all(int(t) in levels for (levels, _), point in zip(rows, points, strict=True) for t in point.t)


def test_a_square_in_closed_form(model):
    """L1 of a lossless first stage has a gradient of one size: a square of 2 of 4 keeps 1/4 of it: cosine 1/2."""
    for _, found in cases.measure_levels(model, losses(crop=2), cases.make_noise(3, 8, CPU), crops=3):
        a = found["gated, 2 x 2 of the latent"]
        assert (a.cosine, a.spread, a.length) == pytest.approx((0.5, 0.0, 1.0), abs=1e-5)
        assert 0.5 < a.cosine_of_mean < 1.0


def test_the_gate_in_closed_form(model):
    """What the gate keeps of a batch is the length of the kept rows over that of all."""
    batch = cases.make_noise(4, 8, CPU)
    found = cases.measure_batches(model, losses(share=0.5), batch, crops=1, batches=1)["gated, whole frames"]
    point = cases.predict(model, batch, range(1000), cases.SEED)
    rows = cases.gradient(model, losses()["exact"], point, torch.Generator())
    kept = rows[point.t.argsort()[:2]].norm() / rows.norm()
    assert found.cosine == pytest.approx(float(kept), abs=1e-5)


def test_the_gradient_is_that_of_the_output(model):
    """Where the network predicts the clean latent, L1 pulls each value by 1 / their number."""
    point = cases.predict(model, cases.make_noise(2, 8, CPU), range(10), 0)
    found = cases.gradient(model, losses()["exact"], point, torch.Generator())
    assert found.shape == (2, 12 * 4 * 4)
    assert torch.allclose(found.abs(), torch.full_like(found, 1 / found.numel()))


def test_agreement_of_known_vectors():
    exact = torch.tensor([[1.0, 0.0]])
    a = cases.agree(exact, torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]]))
    assert a.cosine == pytest.approx(math.sqrt(0.5)) and a.spread == pytest.approx(0.0, abs=1e-6)
    assert (a.cosine_of_mean, a.length) == pytest.approx((1.0, 1.0))


def test_costs_follow_what_is_decoded(tiny_model_config):
    """A quarter of the samples costs a quarter; a tiny decoder costs what its size says, whatever the first stage."""
    unet = tiny_model_config["params"]["unet_config"]["params"]
    unet |= {"in_channels": 8, "out_channels": 4}
    tiny_model_config["params"]["first_stage_config"] = STABLE
    tiny = tiny_decoder(1.0)
    modes = cases.make_modes(L1, 0.25, 2, tiny)
    costs = cases.count_costs(tiny_model_config, modes, 4, 32, (5, 16))
    assert costs["exact"] == 4 * costs["gated, whole frames"] > 0
    # L1 counts nothing: 17.7 GMAC forward at 256 pixels, twice that with the way back to the latent.
    assert costs["gated, tiny decoder, whole frames"] == pytest.approx(2 * 2 * 17.7e9 / 64, rel=0.01)
    square = "gated, tiny decoder, 2 x 2 of the latent"
    assert costs["gated, tiny decoder, whole frames"] == 4 * costs[square]
    assert costs["U-Net"] == 2 * cases.count_costs(tiny_model_config, {}, 2, 32, (5, 16))["U-Net"] > 0


def test_modes_share_the_terms_and_differ_in_what_they_decode():
    terms = {"target": "x", "params": {"mode": "gated", "lambda_l1": 2.0, "share": 0.1, "crop": 9}}
    modes = cases.make_modes(terms, 0.3, 4, {"target": "tiny"})
    loss = losses(share=0.5)["gated, whole frames"]
    assert cases.open_gate(loss).share == 1.0 and loss.share == 0.5
    assert {node["params"].pop("lambda_l1") for node in modes.values()} == {2.0}
    assert modes["exact"]["params"] == {"mode": "exact"}
    gated = {"mode": "gated", "share": 0.3}
    assert [node["params"] for node in list(modes.values())[1:]] == [
        gated,
        gated | {"crop": 4},
        gated | {"tiny_decoder_config": {"target": "tiny"}},
        gated | {"crop": 4, "tiny_decoder_config": {"target": "tiny"}},
    ]
