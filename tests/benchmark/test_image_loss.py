"""Laws of the command that compares the gated image loss with the exact one."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from benchmark import __main__ as benchmark
from benchmark import image_loss as command
from ldm.models.tiny_autoencoder import TinyDecoder
from ldm.util import instantiate_from_config

L1 = {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": {"mode": "exact", "lambda_l1": 1.0}}
CPU = torch.device("cpu")
FEW = ["--pairs", "2", "--crops", "2", "--batches", "1", "--rounds", "1"]


@pytest.fixture(autouse=True)
def no_full_size(monkeypatch):
    """The count at full size takes some ten seconds."""
    made = {"model": command.FULL, "pairs": 2, "rows": [{"mode": "U-Net", "flop": 10, "unet_steps": 1.0}]}
    monkeypatch.setattr(command, "full_size_costs", lambda *_: made)


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
    command.main(flags)
    text = capsys.readouterr().out
    assert (tmp_path / "out/mine.md").read_text() == text
    result = json.loads((tmp_path / "out/mine.json").read_text())
    assert [row["from"] for row in result["levels"]] == [0, 250, 500, 750]
    assert result["levels"][0]["modes"]["gated, whole frames"]["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert [row["mode"] for row in result["costs"][0]["rows"]] == [
        "U-Net",
        "exact",
        "gated, whole frames",
        "gated, 4 x 4 of the latent",
    ]
    assert all(row["seconds"] > 0 for row in result["costs"][0]["rows"])
    assert command.RANDOM in text and result["machine"]["commit"] in text and command.FULL in text


def test_a_checkpoint_is_measured_on_frames(run_folder, pair_folder, capsys):
    folder = pair_folder()
    flags = ["--ckpt", str(run_folder / "model.safetensors"), "--data", str(folder), "--split", "test", *FEW]
    command.main(flags)
    text = capsys.readouterr().out
    assert command.RANDOM not in text and command.OWN_TERMS not in text and "pairs of 16 pixels" in text


def test_a_tiny_decoder_is_compared_where_it_has_weights(tiny_model_config, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "count_costs", lambda _, modes, *__: dict.fromkeys(["U-Net", *modes], 1))
    monkeypatch.setattr(command, "median_seconds", lambda *_: (1.0, 0.0))
    unet = tiny_model_config["params"]["unet_config"]["params"]
    unet |= {"in_channels": 8, "out_channels": 4}
    coder = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4}
    stage = {"target": "ldm.models.autoencoder.AutoencoderKL", "params": {"embed_dim": 4, "ddconfig": coder}}
    tiny_model_config["params"] |= {"frame_loss_config": L1, "first_stage_config": stage}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": tiny_model_config, "resolution": 16}))
    save_file({f"decoder.{n}": v for n, v in TinyDecoder(1.0).state_dict().items()}, tmp_path / "tiny.safetensors")
    few = command.ImageLossRequest(config, crop=2, pairs=2, crops=1, batches=1, rounds=1)
    subject = command.make_subject(few, CPU)
    name = "gated, tiny decoder, whole frames"
    for weights in (None, tmp_path / "tiny.safetensors"):
        found = command.measure(subject, replace(few, tiny_decoder=weights))
        assert (name in found["whole_batches"]) == (weights is not None)
        assert name in [row["mode"] for row in found["costs"][0]["rows"]]
    assert abs(found["whole_batches"][name]["cosine"]) < 0.99


def test_frames_that_are_not_there_are_said(run_folder, pair_folder, capsys):
    checkpoint = ["--ckpt", str(run_folder / "model.safetensors")]
    assert benchmark.main(["image_loss", *checkpoint]) == 2
    assert "give --data" in capsys.readouterr().err
    frames = ["--data", str(pair_folder()), "--split", "test"]
    assert benchmark.main(["image_loss", *checkpoint, *frames, "--pairs", "99"]) == 2
    assert "lower --pairs" in capsys.readouterr().err
