"""Laws of loading: defaults are the checkpoint's own run's, overrides win, refusals come with the mend."""

import pytest
import torch
import yaml
from safetensors.torch import load_file

from commands.errors import UserError
from prediction.load import find_config, load_predictor
from stable_diffusion.checkpoint import load_pretrained, suggest_config
from tests.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture
def checkpoint(tmp_path, tiny_model_config):
    return write_tiny_checkpoint(tmp_path / "model", tiny_model_config)


def load(checkpoint, **options):
    return load_predictor(checkpoint, load_pretrained, suggest_config, **options)


def test_defaults_are_the_checkpoints_own(checkpoint):
    loaded = load(checkpoint)
    options = loaded.predictor.options
    assert (options.steps, options.text_scale, options.image_scale, options.sampler) == (2, 2.0, 1.5, "ddim")
    assert (loaded.predictor.resolution, loaded.horizon) == (8, 3)
    assert not loaded.predictor.model.training


def test_what_is_given_replaces_them_and_none_does_not(checkpoint):
    loaded = load(checkpoint, resolution=16, steps=7, text_scale=None, sampler="dpm_solver", precision="bf16")
    assert (loaded.predictor.options.steps, loaded.predictor.options.text_scale) == (7, 2.0)
    settings = loaded.settings()
    assert settings["sampler"] == "dpm_solver" and settings["resolution"] == 16 and settings["precision"] == "bf16"
    assert len(settings["checkpoint_sha256"]) == 64
    assert next(loaded.predictor.model.model.parameters()).dtype == torch.bfloat16


def test_a_config_is_found_beside_a_checkpoint_and_above_it(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    assert find_config(tmp_path / "checkpoints" / "last.ckpt") == tmp_path / "config.yaml"
    assert find_config(tmp_path / "a" / "b" / "c.ckpt") is None


def test_a_run_folder_is_known_by_its_last_checkpoint(checkpoint, tmp_path):
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    (run / "config.yaml").write_bytes((checkpoint.parent / "config.yaml").read_bytes())
    state = load_file(checkpoint)
    torch.save({"state_dict": state}, last)
    before = load(run).checkpoint_sha256
    assert before == load(last).checkpoint_sha256
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    torch.save({"state_dict": state | {name: state[name] + 1}}, last)
    assert load(run).checkpoint_sha256 != before  # predictions of the older weights are not taken for these


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 5000}, "outside 1 to 2048"),
        ({"resolution": 7}, "multiples of 2"),
        ({"steps": 0}, "wanted 1 to 1000"),
        ({"steps": 2000}, "wanted 1 to 1000"),
        ({"text_scale": -1.0}, "outside"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        load(checkpoint, **options)


def test_a_missing_checkpoint_tells_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="python main.py --base"):
        load(tmp_path / "absent.ckpt")


def change_config(checkpoint, change):
    path = checkpoint.parent / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


def test_what_only_training_needs_is_not_built(checkpoint):
    """No second U-Net for averages, no loss networks: the loss named here does not exist."""
    change_config(checkpoint, lambda config: config["model"]["params"].update(frame_loss_config={"target": "no.Loss"}))
    model = load(checkpoint).predictor.model
    assert model.model_ema is None and not hasattr(model, "frame_loss")


def test_an_interval_of_a_config_is_kept(checkpoint):
    change_config(checkpoint, lambda config: config["sampling"].update(interval=[200, 800]))
    assert load(checkpoint).predictor.options.interval == (200, 800)
    change_config(checkpoint, lambda config: config["sampling"].update(interval=[200]))
    with pytest.raises(ValueError, match="wanted two timesteps"):
        load(checkpoint)


def test_a_model_that_predicts_no_frames_is_refused(checkpoint):
    target = "ldm.models.first_stage_training.AutoencoderTraining"
    change_config(checkpoint, lambda config: config["model"].update(target=target))
    with pytest.raises(UserError, match="AutoencoderTraining predicts no frames"):
        load(checkpoint)
    change_config(checkpoint, lambda config: config.pop("sampling"))
    with pytest.raises(UserError, match="has no section 'sampling'"):
        load(checkpoint)
