"""The whole way as a user walks it on real recordings: prepare, inspect, train, predict, measure."""

import pytest

import edit_cli
import main as training
from dataset_tools import export_lerobot, inspect_dataset, prepare_dataset
from formats.predictions_folder import read_records
from metrics import compute_metrics
from tests.runs import ROOT

RECIPE = [str(ROOT / "configs" / name) for name in ("train.yaml", "cpu_tiny.yaml")]


def walk(command, *arguments):
    assert command.main([str(word) for word in arguments]) == 0


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("source", ["pkl", "lerobot"])
def test_each_command_takes_what_the_one_before_made(source, real_episode, real_clips, tmp_path, monkeypatch):
    """A RoboTwin 1.0 episode, which is all training data, and a LeRobot copy of DROID's clips, split by episode."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, run, split = tmp_path / "data", tmp_path / "run", "train" if source == "pkl" else "test"
    episodes, ahead = real_episode, ["--horizon", 20, "--save-freq", 50]
    if source == "lerobot":
        episodes, ahead = tmp_path / "lerobot", ["--horizon-seconds", 2, "--stride", 5]
        walk(export_lerobot, "--episodes", real_clips / "droid", "--output", episodes)
    walk(prepare_dataset, "--episodes", episodes, "--output", data, "--size", 128, "--workers", 1, *ahead)
    walk(inspect_dataset, data, "--output", tmp_path / "inspection")
    quiet = ["pretrained.path=bundled_model/model.safetensors", "data.params.validation=null", "--max_steps", 2]
    walk(training, "--base", *RECIPE, f"data.params.train.params.folder={data}", *quiet, "--folder", run)
    walk(edit_cli, "--input", data, "--split", split, "--limit", 4, "--ckpt", run, "--output", tmp_path / "predictions")
    assert len(read_records(tmp_path / "predictions")) == 4
    table = [
        "--predictions",
        tmp_path / "predictions",
        "--train-data",
        data,
        "--workers",
        1,
        "--output",
        run / "metrics",
    ]
    walk(compute_metrics, "--data", data, "--split", split, *table)
    assert "copy the input" in (run / "metrics" / "table.md").read_text()
