"""Laws of the agreement and the cost of the gated image loss."""

import json
import math
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from benchmark import image_loss as cases
from benchmark.__main__ import main
from benchmark.image_loss import ImageLossRequest, Scale
from benchmark.training_steps import tiny_decoder
from ldm.models.tiny_autoencoder import TinyDecoder
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


def stable_shape(config):
    config["params"]["unet_config"]["params"] |= {"in_channels": 8, "out_channels": 4}
    config["params"]["first_stage_config"] = STABLE


def losses(share=0.5, crop=2):
    nodes = cases.make_modes(L1, share, crop, None)
    return {name: instantiate_from_config(node) for name, node in nodes.items()}


WHOLE = "gated, whole frames"


def test_gated_with_every_sample_whole_is_exact(model):
    """Cosine 1 and length 1 at every noise level, and in a batch whose share is everything."""
    batch = cases.make_noise(4, 8, CPU)
    rows = [row for row in cases.measure_levels(model, losses(), batch, crops=2) if row.what == WHOLE]
    rows += [row for row in cases.measure_batches(model, losses(share=1.0), batch, 2, 2) if row.what == WHOLE]
    assert [row.row for row in rows] == ["t   0 to 249", "t 250 to 499", "t 500 to 749", "t 750 to 999", "all t"]
    for row in rows:
        assert (row.value, row.spread, row.counted[cases.MEAN], row.counted[cases.LENGTH]) == (1.0, 0.0, 1.0, 1.0)


def test_timesteps_are_those_of_the_quarter(model):
    point = cases.predict(model, cases.make_noise(16, 8, CPU), range(250, 500), 3)
    assert all(250 <= int(t) < 500 for t in point.t)


def test_a_square_in_closed_form(model):
    """L1 of a lossless first stage has a gradient of one size: a square of 2 of 4 keeps 1/4 of it: cosine 1/2."""
    for row in cases.measure_levels(model, losses(crop=2), cases.make_noise(3, 8, CPU), crops=3):
        if row.what == "gated, 2 x 2 of the latent":
            assert (row.value, row.spread, row.counted[cases.LENGTH]) == (0.5, 0.0, 1.0)
            assert 0.5 < row.counted[cases.MEAN] < 1.0


def test_the_gate_in_closed_form(model):
    """What the gate keeps of a batch is the length of the kept rows over that of all."""
    batch = cases.make_noise(4, 8, CPU)
    found = next(cases.measure_batches(model, losses(share=0.5), batch, crops=1, batches=1))
    point = cases.predict(model, batch, range(1000), cases.SEED)
    rows = cases.gradient(model, losses()["exact"], point, torch.Generator())
    kept = rows[point.t.argsort()[:2]].norm() / rows.norm()
    assert found.what == WHOLE and found.value == pytest.approx(float(kept), abs=1e-3)


def test_the_gradient_is_that_of_the_output(model):
    """Where the network predicts the clean latent, L1 pulls each value by 1 / their number."""
    point = cases.predict(model, cases.make_noise(2, 8, CPU), range(10), 0)
    found = cases.gradient(model, losses()["exact"], point, torch.Generator())
    assert found.shape == (2, 12 * 4 * 4)
    assert torch.allclose(found.abs(), torch.full_like(found, 1 / found.numel()))


def test_agreement_of_known_vectors():
    exact = torch.tensor([[1.0, 0.0]])
    row = cases.agree(exact, torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]]), "x", "y")
    assert row.value == pytest.approx(math.sqrt(0.5), abs=1e-3) and row.spread == 0.0
    assert (row.counted[cases.MEAN], row.counted[cases.LENGTH]) == (1.0, 1.0)


def test_costs_follow_what_is_decoded(tiny_model_config):
    """A quarter of the samples costs a quarter; a tiny decoder costs what its size says, whatever the first stage."""
    stable_shape(tiny_model_config)
    modes = cases.make_modes(L1, 0.25, 2, tiny_decoder(1.0))

    def count(modes, pairs):
        return cases.count_costs(tiny_model_config, modes, Scale(pairs, 32, (5, 16)))

    costs = count(modes, 4)
    assert costs["exact"] == 4 * costs["gated, whole frames"] > 0
    # L1 counts nothing: 17.7 GMAC forward at 256 pixels, twice that with the way back to the latent.
    assert costs["gated, tiny decoder, whole frames"] == pytest.approx(2 * 2 * 17.7e9 / 64, rel=0.01)
    square = "gated, tiny decoder, 2 x 2 of the latent"
    assert costs["gated, tiny decoder, whole frames"] == 4 * costs[square]
    assert costs["U-Net"] == 2 * count({}, 2)["U-Net"] > 0


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


FEW = ["--pairs", "2", "--crops", "2", "--batches", "1", "--rounds", "1"]


@pytest.fixture(autouse=True)
def no_full_size(monkeypatch):
    """The count at full size takes some ten seconds."""
    monkeypatch.setattr(cases, "full_size_costs", lambda *_: {"U-Net": 10})


@pytest.fixture
def run_folder(tiny_model_config, tmp_path):
    """A config with its weights beside it, as a run leaves them; L1 alone."""
    tiny_model_config["params"] |= {"frame_loss_config": L1, "use_ema": False}
    config = {"model": tiny_model_config, "resolution": 16}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    save_file(instantiate_from_config(tiny_model_config).state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def test_the_tables_and_their_files(run_folder, tmp_path, capsys):
    flags = ["--config", str(run_folder / "config.yaml"), *FEW, "--output", str(tmp_path / "out"), "--name", "mine"]
    cases.main(flags)
    text = capsys.readouterr().out
    assert (tmp_path / "out/mine.md").read_text() == text
    rows = json.loads((tmp_path / "out/mine.json").read_text())["rows"]
    costs = [row for row in rows if row["section"].startswith("Cost")]
    assert [row["what"] for row in costs] == ["U-Net", "exact", WHOLE, "gated, 4 x 4 of the latent", "U-Net"]
    assert all(row["value"] > 0 for row in costs[:-1]) and costs[0]["value"] == costs[1]["peer"]
    assert costs[-1]["value"] is None and costs[-1]["counted"]["U-Net steps"] == 1.0
    assert cases.RANDOM in text and "## Agreement" in text and cases.FULL in text


def test_a_checkpoint_is_measured_on_frames(run_folder, pair_folder, capsys):
    folder = pair_folder()
    flags = ["--ckpt", str(run_folder / "model.safetensors"), "--data", str(folder), "--split", "test", *FEW]
    cases.main(flags)
    text = capsys.readouterr().out
    assert cases.RANDOM not in text and cases.OWN_TERMS not in text and "pairs of 16 pixels" in text


def test_a_tiny_decoder_is_compared_where_it_has_weights(tiny_model_config, tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "count_flop", lambda _: 1)
    monkeypatch.setattr(cases, "median_seconds", lambda *_: (1.0, 0.0))
    stable_shape(tiny_model_config)
    tiny_model_config["params"] |= {"frame_loss_config": L1}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": tiny_model_config, "resolution": 16}))
    save_file({f"decoder.{n}": v for n, v in TinyDecoder(1.0).state_dict().items()}, tmp_path / "tiny.safetensors")
    few = ImageLossRequest(config, crop=2, pairs=2, crops=1, batches=1, rounds=1)
    subject = cases.make_subject(few)
    name = "gated, tiny decoder, whole frames"
    for weights in (None, tmp_path / "tiny.safetensors"):
        rows = cases.measure(subject, replace(few, tiny_decoder=weights)).rows
        assert ((cases.WHOLE, "all t", name) in rows) == (weights is not None)
        assert (f"Cost, {subject.name}", "cost", name) in rows
    assert abs(rows[cases.WHOLE, "all t", name].value) < 0.99


def test_frames_that_are_not_there_are_said(run_folder, pair_folder, capsys):
    checkpoint = ["--ckpt", str(run_folder / "model.safetensors")]
    assert main(["image_loss", *checkpoint]) == 2
    assert "give --data" in capsys.readouterr().err
    frames = ["--data", str(pair_folder()), "--split", "test"]
    assert main(["image_loss", *checkpoint, *frames, "--pairs", "99"]) == 2
    assert "lower --pairs" in capsys.readouterr().err
