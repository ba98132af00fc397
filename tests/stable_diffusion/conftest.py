"""Factories for the tests of published weights: small models with every part, files of them, a byte-level tokenizer."""

import os
from pathlib import Path

import pytest
import torch

from ldm.training.config import compose
from ldm.util import instantiate_from_config
from stable_diffusion.convert import convert
from stable_diffusion.tensor_files import LazyTensor, write_tensor_file
from tests.stable_diffusion import memory

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SMALL = {
    "unet": {
        "in_channels": 8,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": [2],
        "channel_mult": [1, 2],
        "num_heads": 4,
        "context_dim": 16,
    },
    "first_stage": {"ddconfig": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4}, "embed_dim": 4},
    "text": {"width": 16, "layers": 2, "heads": 2, "intermediate": 32, "vocabulary": 514, "max_length": 77},
}
TARGETS = {
    "unet": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
    "first_stage": "ldm.models.autoencoder.AutoencoderKL",
    "text": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
}


def scramble(model, seed=0):
    """Random weights everywhere, the zero-initialised layers and the average included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def config_of(use_ema=False, **changes):
    """Config of a LatentDiffusion; changes are parameters by part (unet, first_stage, text)."""
    parts = {name: {**SMALL[name], **changes.get(name, {})} for name in SMALL}
    nodes = {name: {"target": TARGETS[name], "params": params} for name, params in parts.items()}
    params = {
        "learning_rate": 1e-4,
        "timesteps": 1000,
        "linear_start": 0.00085,
        "linear_end": 0.012,
        "scale_factor": 0.18215,
        "conditioning_dropout": 0.05,
        "use_ema": use_ema,
        "unet_config": nodes["unet"],
        "first_stage_config": nodes["first_stage"],
        "cond_stage_config": nodes["text"],
    }
    return {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}


@pytest.fixture
def model_config():
    """Makes the config of a small LatentDiffusion; changes are parameters by part."""
    return config_of


@pytest.fixture(scope="session")
def full_size() -> dict:
    """Parameters by part of Stable Diffusion v1's true size, with InstructPix2Pix's eight channels."""
    params = compose([Path(__file__).resolve().parents[2] / "configs" / "base.yaml"])["model"]["params"]
    unet = {k: v for k, v in params["unet_config"]["params"].items() if k not in ("dropout", "use_checkpoint")}
    text = {"width": 768, "layers": 12, "heads": 12, "intermediate": 3072, "vocabulary": 49408, "max_length": 77}
    full = {"unet": unet | {"use_linear_in_transformer": False}, "first_stage": params["first_stage_config"]["params"]}
    return full | {"text": text}


@pytest.fixture
def make_model():
    """Makes a small LatentDiffusion with random weights; changes are parameters by part."""

    def make(seed=0, use_ema=False, **changes):
        torch.manual_seed(seed)
        return scramble(instantiate_from_config(config_of(use_ema, **changes)), seed)

    return make


@pytest.fixture
def weights_of():
    """The three parts' weights of a model, without the average."""

    def copy(model):
        return {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("model_ema.")}

    return copy


@pytest.fixture
def write(tmp_path):
    """Writes tensors as a file of either kind, with words about it."""

    def make(name, state, **metadata):
        path = tmp_path / name
        write_tensor_file(path, {key: LazyTensor.of(value) for key, value in state.items()}, metadata)
        return path

    return make


@pytest.fixture
def can_measure_memory():
    """Skips where the peak of resident memory cannot be reset."""
    if not memory.RESET.exists():
        pytest.skip("peak memory is read from Linux's /proc")


@pytest.fixture
def peak_memory(can_measure_memory):
    """Measures by how many bytes a block raises the peak of resident memory."""
    return memory.peak_memory


@pytest.fixture
def folder(make_model, weights_of, write, clip_folder, tmp_path):
    """A model, and the diffusers folder that was written of it."""
    model = make_model()
    source = write("source.safetensors", weights_of(model), unet_heads="4", text_heads="2")
    convert(source, tmp_path / "folder", "diffusers", tokenizer=clip_folder)
    return model, tmp_path / "folder"
