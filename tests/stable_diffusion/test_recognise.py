"""Laws of telling a network by its names and shapes, and its schedule by its own words or its run's config."""

from inspect import signature

import pytest
import torch

from commands.errors import UserError
from ldm.models.autoencoder import VQModel
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from stable_diffusion.checkpoint import open_checkpoint
from stable_diffusion.checkpoint_config import suggest_config
from stable_diffusion.convert import convert
from stable_diffusion.recognise import (
    SD_SCHEDULE,
    describe_first_stage,
    describe_unet,
    first_stage_params,
    recognise,
    run_params,
    schedule_of_words,
    text_params,
    unet_params,
)
from stable_diffusion.tensor_files import LazyTensor

SCHEDULE = "timesteps: 500, linear_start: 0.001, linear_end: 0.02, parameterization: x0"
PARAMS = SCHEDULE + ", unet_config: {params: {num_heads: 4}}"
X0 = {"timesteps": 500, "linear_start": 0.001, "linear_end": 0.02, "parameterization": "x0"}
ONE_STEP = {**X0, "terminal_signal": 0.001, "predict_change": True}


def lazy(module):
    return {name: LazyTensor.of(value) for name, value in module.state_dict().items()}


def plain(params):
    return {name: list(value) if isinstance(value, tuple) else value for name, value in params.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_res_blocks": 2, "channel_mult": [1, 2, 2], "attention_resolutions": [2], "in_channels": 4},
        {"transformer_depth": 2, "use_linear_in_transformer": True, "channel_mult": [1]},
    ],
)
def test_a_unet_is_rebuilt_from_its_shapes(make_model, settings):
    """Parameters read from the weights make a network with the same names and shapes."""
    state = lazy(make_model(unet=settings).model.diffusion_model)
    params = unet_params(state, num_heads=4)
    assert set(params) <= set(signature(UNetModel).parameters)
    with torch.device("meta"):
        again = UNetModel(**params).state_dict()
    assert {name: tuple(t.shape) for name, t in again.items()} == {name: t.shape for name, t in state.items()}


def test_heads_are_known_for_stable_diffusion_alone(make_model):
    with torch.device("meta"):
        shape = {"in_channels": 8, "out_channels": 4, "model_channels": 320, "num_res_blocks": 1}
        v1 = UNetModel(**shape, attention_resolutions=[1], channel_mult=[1], num_heads=8, context_dim=768)
        v2 = UNetModel(
            **shape,
            attention_resolutions=[1],
            channel_mult=[1],
            num_head_channels=64,
            context_dim=1024,
            use_linear_in_transformer=True,
        )
    assert unet_params(lazy(v1))["num_heads"] == 8
    assert unet_params(lazy(v2))["num_head_channels"] == 64
    with pytest.raises(ValueError, match=r"heads is not in the weights.*--num-heads"):
        unet_params(lazy(make_model().model.diffusion_model))
    assert describe_unet(lazy(v1)) == "Stable Diffusion v1 (8 input channels, width 320, text width 768)"
    assert describe_unet(lazy(v2)).startswith("Stable Diffusion v2")


def test_a_first_stage_and_a_text_tower_are_read_back(make_model):
    model = make_model()
    stage = lazy(model.first_stage_model)
    params = first_stage_params(stage)
    assert (params["ddconfig"]["ch_mult"], params["ddconfig"]["double_z"], params["embed_dim"]) == ([1, 2], True, 4)
    assert describe_first_stage(stage) == "an AutoencoderKL (ch 32, ch_mult [1, 2], 4 latent channels)"
    params = text_params(lazy(model.cond_stage_model), num_heads=2)
    assert params == {"max_length": 77, "width": 16, "layers": 2, "heads": 2, "intermediate": 32, "vocabulary": 514}


def test_a_codebook_makes_it_a_vq_model():
    """taming's names, attention at 128 of 256."""
    ddconfig = {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 5, "double_z": False}
    ddconfig |= {"attn_resolutions": [128], "resolution": 256}
    with torch.device("meta"):
        state = lazy(VQModel(ddconfig, n_embed=7, embed_dim=3))
        params = first_stage_params(state)
        again = VQModel(**params).state_dict()
    assert (params["n_embed"], params["embed_dim"], params["ddconfig"]["attn_resolutions"]) == (7, 3, [128])
    assert {name: tuple(t.shape) for name, t in again.items()} == {name: t.shape for name, t in state.items()}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "LoRA"),
        ("unet.down_blocks.0.attentions.0.to_q.lora_A.weight", "LoRA"),
        ("control_model.input_blocks.0.0.weight", "ControlNet"),
        ("conditioner.embedders.0.transformer.text_model.final_layer_norm.bias", "XL"),
        ("model.diffusion_model.label_emb.0.0.weight", "XL"),
        ("add_embedding.linear_1.weight", "XL"),
        ("model.diffusion_model.joint_blocks.0.context_block.attn.proj.bias", "Diffusion 3"),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "Flux"),
        ("string_to_param", "textual inversion"),
        ("cond_stage_model.model.ln_final.bias", "v2"),
    ],
)
def test_strangers_are_named_with_a_mend(name, what):
    found, mend = recognise([name])
    assert what in found
    assert mend


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
    assert '"attention_head_dim": 4' in (tmp_path / "x0" / "unet" / "config.json").read_text(), "the run's config's"
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


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"unet_heads": "many"}, "declares 'many' attention heads"),
        ({"parameterization": "eps", "timesteps": "1000000000000"}, "timesteps is '1000000000000' .wanted 1 to"),
        ({"parameterization": "eps", "timesteps": "inf"}, "timesteps is 'inf'"),
        ({"parameterization": "eps", "linear_end": "nan"}, "linear_end is 'nan'"),
    ],
)
def test_numbers_that_a_file_declares_are_checked(write, words, what):
    path = write("x.safetensors", {"model.diffusion_model.out.2.bias": torch.ones(4)}, **words)
    with pytest.raises(UserError, match=what):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.diffusion_model.input_blocks.1.0.in_layers.2.weight", (320_000, 0, 3, 3)),
        ("first_stage_model.encoder.down.1.block.0.conv1.weight", (3_200_000, 1, 1, 1)),
        ("cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight", (5_000_000, 1)),
    ],
)
def test_shapes_declare_no_network_larger_than_the_file(make_model, weights_of, write, name, shape):
    """A file of 20 MB never makes us build a network of terabytes."""
    path = write("x.safetensors", weights_of(make_model()) | {name: torch.zeros(shape)}, unet_heads="4", text_heads="2")
    with pytest.raises(UserError, match="declare a network of at least"):
        suggest_config(path)
