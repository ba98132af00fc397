"""Laws of the dry run."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from ldm.data.frame_pairs import FramePairDataset
from ldm.data.latent_cache import build_cache
from ldm.training.build import build_trained_model
from ldm.training.config import compose
from ldm.training.dry_run import count_more, describe_dry_run

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    """Memory is estimated in the tests of it only: full size takes seconds."""
    if "memory" not in request.node.name:
        monkeypatch.setattr("ldm.training.dry_run.estimate_memory", lambda *_: {})


def said(config, gpus=None, missing=()) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(describe_dry_run(config, gpus, missing))
    return capture.get()


def test_everything_there_is_ready(pair_folder):
    folder = pair_folder()
    overrides = [f"data.params.{split}.params.folder={folder}" for split in ("train", "validation")]
    text = said(compose([CONFIGS / "train.yaml", CONFIGS / "cpu_tiny.yaml"], overrides))
    assert "Ready to train." in text
    assert "10 in" in text, "the training pairs are counted"


def test_a_config_without_training_pairs_is_described():
    config = compose([CONFIGS / "recipes/joint_stage_1_simulator.yaml", CONFIGS / "tiny/joint.yaml"])
    config["data"]["params"] |= {"train": None, "validation": None}
    assert "--output <output>" in said(config | {"prepare": "--pairing all"})


def test_windows_without_frames_are_counted_in_a_mixture_too():
    train = {"params": {"more": 7}}
    mixture = {"params": {"parts": {"robot": train, "bridge": {"params": {}}, "agibot": None}}}
    assert [count_more({"train": node}) for node in (train, mixture, {"params": {}}, None)] == [7, 7, 0, 0]


def test_a_mixture_tells_the_share_of_each_part(pair_folder):
    config = compose([CONFIGS / "train.yaml", CONFIGS / "cpu_tiny.yaml"])
    data = config["data"]["params"]
    pairs = data["train"] | {"params": data["train"]["params"] | {"folder": str(pair_folder())}}
    parts = {"robot": {"weight": 4, **pairs}, "bridge": {"weight": 1, **pairs}}
    config["data"]["params"] = data | {"train": {"target": "ldm.data.mixture.Mixture", "params": {"parts": parts}}}
    assert re.search(r"robot +│ +80.0% of each batch, from 10", text := said(config)) and "20 of 2 parts" in text
    parts["bridge"]["params"] = pairs["params"] | {"folder": "nowhere"}
    assert "--output nowhere --pairing" in said(config | {"prepare": "--pairing all"}), "the part's own command"


def test_each_missing_thing_comes_with_its_command():
    text = said(compose([CONFIGS / "train.yaml"]), [0, 1], ["weights: fetch them so"])
    assert "- weights: fetch them so" in text
    command = "prepare_dataset --episodes <folder> --output data/robotwin_afp --pairing first_last --window 50"
    assert text.count(command) == 2, "as the recipe's, and as the mend for what is missing"
    assert re.search(r"loss_simple +│ +1 *\n", text) and re.search(r"lpips +│ +0.1 *\n", text), "the terms of the loss"
    assert re.search(r"trained +│ +859.53 M", text) and re.search(r"frozen +│ +206.71 M", text)
    assert "4 extra input channels" in text and "0.01 M" in text
    assert "GPUs 0, 1" in text and "configs/cpu_tiny.yaml" in text


@pytest.mark.parametrize(("name", "cameras"), [("policy", "--size 128 64 64"), ("policy_privileged", "--cameras none")])
def test_a_policy_is_told_both_its_data_commands_and_to_train_without_gpus(name, cameras):
    text = said(compose([CONFIGS / f"{name}.yaml"]), [0, 1])
    assert "GPUs 0, 1" in text and "leave --gpus out" in text and "cpu_tiny" not in text
    for command in ("simulate --task all", "prepare_episodes --episodes"):
        assert len(re.findall(rf"^ *python -m dataset_tools.{command}", text, re.MULTILINE)) == 2, "and as the mend"
    assert cameras in text and "<folder>" not in text


def test_a_model_without_a_network_or_a_text_encoder_is_described_too():
    """The first stage's own recipe."""
    text = said(compose([CONFIGS / "recipes" / "first_stage_decoder.yaml"]))
    assert "83.65 M" in text and "extra input channels" not in text


def test_cached_latents_are_data(pair_folder, tmp_path):
    """The config that a --cache-latents run leaves."""
    folder = pair_folder()
    small = [CONFIGS / "recipes" / "acp_train_1.yaml", CONFIGS / "tiny" / "small.yaml"]
    config = compose(small, [f"data.params.validation.params.folder={folder}", "resolution=16"])
    model = build_trained_model(config["model"])
    build_cache(model, FramePairDataset(folder, "train", 16), {}, tmp_path / "cache")
    node = {"target": "ldm.data.latent_cache.CachedPairDataset", "params": {"folder": str(tmp_path / "cache")}}
    config["data"]["params"]["train"] = node
    text = said(config)
    assert "10 as latents, in 1 variant(s)" in text and "Ready to train." in text
    node["params"]["folder"] = str(tmp_path)
    assert "cache.json is missing" in said(config)


def test_missing_weights_of_the_losses_are_said():
    config = compose([CONFIGS / "recipes" / "afp.yaml"])
    assert "python -m stable_diffusion.weights fetch vgg16" in said(config)
    params = {"scale_factor": 0.18215, "weights": "checkpoints/taesd.safetensors"}
    node = {"target": "ldm.models.tiny_autoencoder.TinyDecoder", "params": params}
    config["model"]["params"]["frame_loss_config"]["params"] |= {"mode": "gated", "tiny_decoder_config": node}
    assert "python -m stable_diffusion.weights fetch taesd" in said(config), "hidden from the model's modules"


def test_doubts_are_said_before_training(pair_folder):
    overrides = [f"data.params.{split}.params.folder={pair_folder(name=split)}" for split in ("train", "validation")]
    text = said(compose([CONFIGS / "train.yaml", CONFIGS / "cpu_tiny.yaml"], overrides))
    assert "Mind: the config's horizon is 20, but all training pairs are 3 frames apart" in text


def test_the_effective_batch_counts_devices_and_nodes():
    """As --scale_lr does."""
    trainer = ["lightning.trainer.devices=4", "lightning.trainer.num_nodes=2"]
    assert "2 x 8 accumulated x 8 device(s) = 128" in said(compose([CONFIGS / "train.yaml"], trainer))


@pytest.mark.slow
def test_the_memory_of_the_reported_run_is_more_than_its_paper_prints():
    """24 GiB, where the paper has two GPUs of 22 GB: mostly 859.5 M numbers, six times over."""
    text = said(compose([CONFIGS / "train.yaml"]), [0, 1])
    assert re.search(r"optimiser +│ +6.40", text) and re.search(r"buckets of DDP +│ +3.20", text)
    assert 23.5 < float(re.search(r"together +│ +([\d.]+)", text)[1]) < 24.5
