"""Laws of the schedule: a checkpoint's own words or its run's config decide it, never a guess where they speak."""

import pytest
import torch

from stable_diffusion.checkpoint import open_checkpoint, suggest_config
from stable_diffusion.convert import convert
from stable_diffusion.run_schedule import SD_SCHEDULE, run_params, schedule_of_words

SCHEDULE = "timesteps: 500, linear_start: 0.001, linear_end: 0.02, parameterization: x0"
PARAMS = SCHEDULE + ", unet_config: {params: {num_heads: 4}}"
X0 = {"timesteps": 500, "linear_start": 0.001, "linear_end": 0.02, "parameterization": "x0"}
ONE_STEP = {**X0, "terminal_signal": 0.001, "predict_change": True}


@pytest.fixture
def run(tmp_path, make_model):
    """Makes a run folder whose config says more."""

    def make(more: str = ""):
        folder = tmp_path / "run"
        (folder / "checkpoints").mkdir(parents=True)
        torch.save({"state_dict": make_model().state_dict()}, folder / "checkpoints" / "last.ckpt")
        (folder / "config.yaml").write_text(f"model: {{params: {{{PARAMS}{more}}}}}")
        return folder

    return make


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_the_runs_schedule_is_read_and_goes_along_into_one_file(run, tmp_path, suffix):
    folder, file = run(", terminal_signal: 1e-3, predict_change: true"), tmp_path / "elsewhere" / f"x{suffix}"
    file.parent.mkdir()
    assert open_checkpoint(folder).schedule == ONE_STEP
    convert(folder, file, "ldm")
    assert open_checkpoint(file).schedule == ONE_STEP
    assert suggest_config(file)["model"]["params"].items() >= ONE_STEP.items()


def test_what_diffusers_cannot_say_is_refused_and_the_rest_is_said(run, tmp_path, clip_folder):
    folder = run()
    convert(folder, tmp_path / "x0", "diffusers", tokenizer=clip_folder)
    assert '"prediction_type": "sample"' in (tmp_path / "x0" / "scheduler" / "scheduler_config.json").read_text()
    convert(tmp_path / "x0", tmp_path / "again.safetensors", "ldm")
    assert open_checkpoint(tmp_path / "again.safetensors").schedule == X0
    config = folder / "config.yaml"
    for more in ("terminal_signal: 0.001", "predict_change: true"):
        config.write_text(f"model: {{params: {{{PARAMS}, {more}}}}}")
        with pytest.raises(ValueError, match=f"trained with {more.split(':')[0]}, which has no counterpart"):
            convert(folder, tmp_path / "y", "diffusers", tokenizer=clip_folder)
    assert not (tmp_path / "y").exists()


def test_without_words_it_is_stable_diffusions(tmp_path):
    assert run_params(tmp_path / "checkpoints" / "x.ckpt") == {}
    assert schedule_of_words({}, tmp_path) == SD_SCHEDULE
    assert schedule_of_words({"predict_change": "False", "terminal_signal": None}, tmp_path) == SD_SCHEDULE


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"parameterization is '\$\{x\}'.*write a plain value"):
        schedule_of_words({"parameterization": "${x}"}, tmp_path)
    (tmp_path / "config.yaml").write_text("model: {params: [")
    with pytest.raises(ValueError, match="is not YAML.*mend it or move it"):
        run_params(tmp_path / "x.ckpt")
