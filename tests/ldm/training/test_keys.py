"""Laws of keys and values: what a run would refuse later, or ignore, is refused before it begins, in one sentence."""

import inspect
from pathlib import Path

import pytest
import pytorch_lightning as pl

import main
from commands.errors import UserError
from ldm.training.config import compose, merge_files
from ldm.training.keys import TRAINER_FLAGS, check_values
from ldm.util import check_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
TRAIN = [CONFIGS / "train.yaml"]
NOT_FLAGS = {"self", "logger", "callbacks", "plugins", "model_registry"}


def test_the_flags_of_the_trainer_are_lightnings():
    assert set(TRAINER_FLAGS) >= set(inspect.signature(pl.Trainer.__init__).parameters) - NOT_FLAGS
    assert not NOT_FLAGS & set(TRAINER_FLAGS)


WRONG = [  # written in a file over configs/train.yaml
    ("lightning: {trainer: {max_epoch: 3}}", "lightning.trainer.max_epoch: no such key; did you mean 'max_epochs'"),
    ("lightning: {checkpoint: {every_n_step: 3}}", "checkpoint.every_n_step: .* did you mean 'every_n_steps'"),
    ("lightning: {callback: {}}", "lightning.callback: .* did you mean 'callbacks'"),
    ("pretrained: {use_emma: true}", "pretrained.use_emma: .* did you mean 'use_ema'"),
    ("pretrained: {weights: x}", "pretrained.weights: no such key"),
    ("pretrained: x", "pretrained: wanted a mapping"),
    ("sampling: {stepps: 3}", "sampling.stepps: .* did you mean 'steps'"),
    ("lightning: {trainer: {precision: 17}}", "lightning.trainer.precision: 17; wanted one of 16-mixed"),
    ("lightning: {trainer: {max_steps: many}}", "lightning.trainer.max_steps: 'many'; wanted a whole number"),
    ("lightning: {checkpoint: {every_n_steps: 0}}", "every_n_steps: 0; wanted a whole number from 1"),
    ("lightning: {checkpoint: {keep_epochs: 10}}", "keep_epochs: 10; wanted a list"),
    ("lightning: {loggers: [mlflow]}", "'mlflow' is not one of csv, wandb"),
    ("lightning: {callbacks: {early_stopping: {params: {patients: 3}}}}", "'patients'; did you mean 'patience'"),
    ("lightning: {callbacks: {early_stopping: {parms: {patience: 3}}}}", "found 'parms'; did you mean 'params'"),
    (
        "lightning: {callbacks: {early_stopping: {params: {patience: soon}}}}",
        "patience: 'soon'; EarlyStopping wants int",
    ),
    ("model: {params: {learning_rate: .nan}}", "model.params.learning_rate: nan; wanted a number from 0 on"),
    ("model: {params: {learning_rate: fast}}", "model.params.learning_rate: 'fast'; wanted a number"),
    ("model: {params: {learning_rate: -1.0}}", "model.params.learning_rate: -1.0; wanted a number"),
    ("model: {params: {unet_config: {params: {num_heads: many}}}}", "num_heads: 'many'; UNetModel wants int"),
    ("resolution: large", "resolution: 'large'; wanted a whole number"),
    ("seed: 1.5", "seed: 1.5; wanted a whole number from 0 on"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_key_or_value_is_refused_by_its_place(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        config = compose([*TRAIN, tmp_path / "x.yaml"])
        check_values(config)
        check_config(config["model"], "model")


@pytest.mark.parametrize("value", ["lightning.trainer.limit_val_batches=-3", "lightning.trainer.strategy=dpp"])
def test_the_dry_run_refuses_what_lightning_refuses(value, capsys, monkeypatch):
    monkeypatch.setattr("ldm.training.dry_run.estimate_memory", lambda *_: {})
    assert main.main(["--base", *map(str, TRAIN), str(CONFIGS / "cpu_tiny.yaml"), value, "--dry-run"]) == 2
    assert "main.py: lightning.trainer: Lightning refuses it: " in capsys.readouterr().err


def test_start_weights_may_be_given_where_the_file_says_null():
    """In any order."""
    small = [*TRAIN, CONFIGS / "cpu_tiny.yaml"]
    config = merge_files(small, ["pretrained.use_ema=true", "pretrained.path=x"])
    assert config["pretrained"] == {"use_ema": True, "path": "x"}
    with pytest.raises(UserError, match="pretrained.weights: no such key"):
        merge_files(small, ["pretrained.weights=x"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_size: 256", "image_size is resolution here"),
        ("model: {params: {unet_config: {params: {image_size: 32}}}}", "unet_config.params.image_size is resolution"),
        ("model: {target: ldm.models.diffusion.ddpm_edit.LatentDiffusion}", "is ldm.models.diffusion.ddpm.LatentDiff"),
        (
            "data: {params: {train: {target: edit_dataset.EditDataset}}}",
            "is ldm.data.frame_pairs.FramePairDataset here",
        ),
        (
            "data: {params: {train: {params: {path: x, crop_res: 256, flip_prob: 0.5}}}}",
            "is data.params.<split>.params",
        ),
    ],
)
def test_the_originals_keys_are_answered_with_ours(tmp_path, text, message):
    """The papers print them."""
    (tmp_path / "x.yaml").write_text(text)
    for base in ([tmp_path / "x.yaml"], [*TRAIN, tmp_path / "x.yaml"]):
        with pytest.raises(UserError, match=message) as said:
            merge_files(base)
        assert "Begin with configs/train.yaml" in str(said.value)
