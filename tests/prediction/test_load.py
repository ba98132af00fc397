"""Laws of loading: defaults are the checkpoint's own run's, overrides win, refusals come with the mend."""

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from commands.errors import UserError
from formats.run_folder import find_config
from ldm.models.tiny_autoencoder import TinyDecoder
from ldm.util import instantiate_from_config
from prediction.load import load_predictor, use_tiny_decoder
from prediction.model_request import ModelRequest
from prediction.predictor import FramePredictor, Runtime, SamplingOptions, tune_for_inference
from tests.tiny_checkpoint import write_tiny_checkpoint

SCALE = 0.5


@pytest.fixture
def checkpoint(tmp_path, tiny_model_config):
    return write_tiny_checkpoint(tmp_path / "model", tiny_model_config)


def load(checkpoint, **options):
    return load_predictor(ModelRequest.of({"ckpt": checkpoint} | options))


def test_defaults_are_the_checkpoints_own(checkpoint):
    loaded = load(checkpoint)
    options = loaded.predictor.options
    assert (options.steps, options.text_scale, options.image_scale, options.sampler) == (2, 2.0, 1.5, "ddim")
    assert (loaded.predictor.resolution, loaded.horizon) == (8, 3)
    assert not loaded.predictor.model.training


def test_what_is_given_replaces_them_and_none_does_not(checkpoint):
    loaded = load(checkpoint, resolution=16, steps=7, cfg_text=None, sampler="dpm_solver", precision="bf16")
    assert (loaded.predictor.options.steps, loaded.predictor.options.text_scale) == (7, 2.0)
    settings = loaded.settings()
    assert settings["sampler"] == "dpm_solver" and settings["resolution"] == 16 and settings["precision"] == "bf16"
    assert len(settings["checkpoint_sha256"]) == 64
    assert next(loaded.predictor.model.model.parameters()).dtype == torch.bfloat16


def test_a_run_folder_is_known_by_its_last_checkpoint(checkpoint, tmp_path):
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    assert find_config(last) is None
    (run / "config.yaml").write_bytes((checkpoint.parent / "config.yaml").read_bytes())
    assert find_config(last) == run / "config.yaml"
    state = load_file(checkpoint)
    torch.save({"state_dict": state}, last)
    before = load(run).checkpoint_sha256
    assert before == load(last).checkpoint_sha256
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    torch.save({"state_dict": state | {name: state[name] + 1}}, last)
    assert load(run).checkpoint_sha256 != before  # predictions of the older weights are not taken for these


def change_config(checkpoint, change):
    path = checkpoint.parent / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


def test_what_only_training_needs_is_not_built(checkpoint):
    """No second U-Net for averages, no loss networks: the loss named here does not exist."""
    change_config(checkpoint, lambda config: config["model"]["params"].update(frame_loss_config={"target": "no.Loss"}))
    model = load(checkpoint, trust_config=True).predictor.model
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


def test_a_config_without_a_section_is_refused(checkpoint):
    change_config(checkpoint, lambda config: config.pop("sampling"))
    with pytest.raises(UserError, match="has no section 'sampling'"):
        load(checkpoint)


NODE = {"target": "subprocess.getoutput", "params": {"cmd": "touch ran"}}
PLACES = {  # where a stranger's config may hide a node
    "the top": lambda config: config.update(model=NODE),
    "a parameter": lambda config: config["model"]["params"].update(unet_config=NODE),
    "a parameter of a parameter": lambda c: c["model"]["params"]["unet_config"]["params"].update(first=NODE),
    "a list": lambda config: config["model"]["params"].update(scheduler_config=[[NODE]]),
    "another section": lambda config: config.update(data={"params": {"train": NODE}}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_config_beside_weights_runs_no_code(checkpoint, tmp_path, monkeypatch, place):
    """The payload would write a file; a config that the user names, or vouches for, is his own word."""
    monkeypatch.chdir(tmp_path)
    change_config(checkpoint, PLACES[place])
    with pytest.raises(UserError, match=r"subprocess.getoutput.*--trust-config"):
        load(checkpoint)
    assert not (tmp_path / "ran").exists()
    for vouched in ({"trust_config": True}, {"config": checkpoint.parent / "config.yaml"}):
        try:
            load(checkpoint, **vouched)
        except Exception as error:  # the payload is no model: what matters is that it was not refused
            assert "--trust-config" not in str(error)


def test_a_template_travels_with_the_model(checkpoint):
    """light_future's sentences; a sentence that has the form already, as the data's own have, stays as it is."""
    assert load(checkpoint).sentence("go") == "go"
    form = "Scene after executing '{instruction}' for {horizon} frames."
    change_config(checkpoint, lambda config: config.update(instruction_template=form))
    loaded = load(checkpoint)
    whole = "Scene after executing 'stack {horizon} blocks' for 3 frames."
    assert loaded.sentence("stack {horizon} blocks") == whole == loaded.sentence(whole)
    change_config(checkpoint, lambda config: config.update(horizon=None))
    with pytest.raises(UserError, match="give the whole sentence"):
        load(checkpoint).sentence("go")
    for wrong in ("no place", 3, "{instruction}" * 2, "{instruction} in {seconds} s"):
        change_config(checkpoint, lambda config, wrong=wrong: config.update(instruction_template=wrong))
        with pytest.raises(UserError, match="instruction_template is no text"):
            load(checkpoint)


def test_horizons_that_vary_are_counted_in_predictions(checkpoint):
    change_config(checkpoint, lambda config: config.update(horizon=None, horizon_range=[120, 205]))
    loaded = load(checkpoint)
    assert loaded.horizon is None and loaded.predictor.count_predictions(None) == 1
    with pytest.raises(UserError, match="trained on pairs 120 to 205 frames apart.*--rollout"):
        loaded.predictor.count_predictions(150)


@pytest.fixture
def kl_model_config(tiny_model_config, kl_node):
    """Of a model of KL latents of 4 channels at an eighth of the frame's size."""
    return kl_node((1, 1, 1, 1), tiny_model_config, scale_factor=SCALE)


@pytest.fixture
def model(kl_model_config):
    torch.manual_seed(0)
    return instantiate_from_config(kl_model_config, "model").eval()


@pytest.fixture
def decoder_file(tmp_path):
    torch.manual_seed(1)
    decoder = TinyDecoder(SCALE, width=8)
    tensors = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    save_file(tensors, tmp_path / "taesd_decoder.safetensors")
    return tmp_path / "taesd_decoder.safetensors", decoder


def test_latents_are_encoded_as_before_and_decoded_by_the_other(model, decoder_file):
    path, decoder = decoder_file
    frame, z = torch.rand(1, 3, 16, 16), torch.randn(1, 4, 2, 2)
    context, own = model.encode_context(frame), model.decode_first_stage(z)
    use_tiny_decoder(model, path)
    assert torch.equal(model.encode_context(frame), context)
    decoded = model.decode_first_stage(z)
    torch.testing.assert_close(decoded, decoder(z))
    assert decoded.shape == own.shape and not torch.allclose(decoded, own, atol=1e-2)


def test_a_frame_is_predicted_with_it_in_half_precision_too(model, decoder_file):
    use_tiny_decoder(model, decoder_file[0])
    tune_for_inference(model, Runtime("bf16"))
    predictor = FramePredictor(model, 32, SamplingOptions(steps=2, text_scale=1.0, image_scale=1.0))
    frame = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    assert predictor.predict(frame, ["stack blocks"], [0]).shape == frame.shape


def test_latents_of_another_kind_are_refused(tiny_model_config, decoder_file):
    """The model of patches has 12 channels at half size."""
    model = instantiate_from_config(tiny_model_config, "model")
    with pytest.raises(ValueError, match="4 channels at 1/8 .* this model's have 12 at 1/2; leave"):
        use_tiny_decoder(model, decoder_file[0])


def test_a_fine_tuned_decoder_replaces_the_models_own_and_is_recorded(kl_model_config, tmp_path):
    """--first-stage; a checkpoint without it records nothing of it, as before."""
    own = write_tiny_checkpoint(tmp_path / "own", kl_model_config)
    state = load_file(own)
    name = "first_stage_model.decoder.conv_out.bias"
    (tmp_path / "other").mkdir()
    save_file(state | {name: state[name] + 1.0}, tmp_path / "other" / "decoder.safetensors")
    plain, tuned = load(own), load(own, first_stage=str(tmp_path / "other" / "decoder.safetensors"))
    bias = tuned.predictor.model.state_dict()[name]
    assert torch.equal(bias, state[name] + 1.0) and "first_stage" not in plain.settings()
    assert (
        tuned.settings()["first_stage"] == "decoder.safetensors" and len(tuned.settings()["first_stage_sha256"]) == 64
    )
    with pytest.raises(UserError, match="absent"):
        load(own, first_stage="absent.safetensors")


def test_a_checkpoint_that_knows_no_seconds_predicts_the_same_in_a_config_that_takes_them(checkpoint, tmp_path):
    """At any time: what tells the seconds starts at zero."""
    config = yaml.safe_load((checkpoint.parent / "config.yaml").read_text())
    params = config["model"]["params"]
    params["horizon_channels"] = params["unet_config"]["params"]["adm_in_channels"] = 8
    timed = tmp_path / "timed.yaml"
    timed.write_text(yaml.safe_dump(config | {"horizon": None, "seconds_range": [0.2, 6.0]}))
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    old, new = load(checkpoint).predictor, load(checkpoint, config=timed).predictor
    asked = frames, ["stack blocks"] * 2, [0, 1]
    assert torch.equal(new.predict(*asked, seconds=[0.5, 6.0]), old.predict(*asked))
