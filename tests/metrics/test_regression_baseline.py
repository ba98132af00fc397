"""The regression baseline: configs/regression.yaml, trained by main.py, predicted by edit_cli, scored by metrics."""

from pathlib import Path

import pytest
import torch

import edit_cli
import main
from formats.run_folder import RUN_VARIABLE
from ldm.models.diffusion.conditioning import draw_training
from ldm.training.build import build_trained_model
from ldm.training.config import compose
from metrics.compute_metrics import main as compute_metrics
from metrics.reports.runs import read_run
from tests.conftest import pair_folder as moving_squares  # noqa: F401 - a fixture: three splits, which metrics' has not

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = [CONFIGS / "recipes" / "afp.yaml", CONFIGS / "tiny" / "small.yaml", CONFIGS / "regression.yaml"]


def test_its_loss_is_the_squared_error_of_the_target_at_one_level():
    """Nothing else of the recipe's loss is left, and no sample is without its conditions."""
    torch.manual_seed(0)
    config = compose(SMALL)
    model = build_trained_model(config["model"]).eval()
    assert model.levels == [999] and model.frame_loss is None and model.conditioning_dropout == 0.0
    batch = {"source_frame": torch.rand(2, 3, 8, 8), "target_frame": torch.rand(2, 3, 8, 8), "instruction": ["a", "b"]}
    draws = draw_training(torch.tensor([1, 2]), model.latent_shape(batch["target_frame"]), torch.tensor([999]), "cpu")
    x_start, cond = model.get_input(batch, draws, model.conditioning_dropout)
    output = model.apply_model(model.q_sample(x_start, draws.t, draws.eps), draws.t, cond)
    result = model.p_losses(x_start, cond, draws.t, draws.eps)
    assert result.loss.item() == pytest.approx(((output - x_start) ** 2).mean().item(), rel=1e-6)
    signal = model.schedule.q_sample(torch.ones(1, 1, 1, 1), torch.tensor([999]), torch.zeros(1, 1, 1, 1))
    assert signal.item() == pytest.approx(1e-3, rel=1e-3)


def test_it_trains_predicts_in_one_call_and_is_scored(moving_squares, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    data, run = moving_squares(num_episodes=4, size=32), tmp_path / "run"
    folders = [f"data.params.{split}.params.folder={data}" for split in ("train", "validation")]
    fast = ["lightning.callbacks.image_logger=null", "lightning.checkpoint.monitor=null", "--val_check_interval=1000"]
    assert main.main(["--base", *map(str, SMALL), "--folder", str(run), "--max_steps", "2", *folders, *fast]) == 0
    arguments = ["--input", data, "--ckpt", run / "checkpoints" / "last.ckpt", "--output", tmp_path / "predictions"]
    assert edit_cli.main([str(argument) for argument in arguments]) == 0
    arguments = ["--data", data, "--split", "test", "--predictions", f"regression={tmp_path / 'predictions'}"]
    assert compute_metrics([*map(str, arguments), "--no-cache", "--output", str(run / "metrics")]) == 0
    scored = read_run(str(run))
    assert len(scored.results[0].entries("regression")) == 5
    assert scored.benchmark["steps"] == 1
