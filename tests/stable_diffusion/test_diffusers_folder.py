"""Laws of folders in diffusers' layout."""

import json
import shutil

import pytest
import torch

from ldm.modules.encoders.modules import has_tokenizer
from stable_diffusion.diffusers_folder import find_weights, open_folder, write_folder
from stable_diffusion.tensor_files import open_tensor_file


def test_what_was_written_is_opened_under_our_names(folder, weights_of):
    model, path = folder
    opened = open_folder(path)
    wanted = weights_of(model)
    assert set(opened.tensors) == set(wanted)
    assert all(torch.equal(opened.tensors[name].read(), value) for name, value in wanted.items())
    assert opened.configs["unet"]["attention_head_dim"] == 4
    assert opened.configs["scheduler"]["beta_schedule"] == "scaled_linear"
    assert has_tokenizer(path / "tokenizer")


@pytest.mark.parametrize("kind", ["pickle", "half precision", "shards"])
def test_weights_are_found_in_every_form(folder, weights_of, kind):
    model, path = folder
    whole = path / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {name: t.read().clone() for name, t in open_tensor_file(whole).tensors.items()}
    whole.unlink()
    if kind == "pickle":
        torch.save(tensors, path / "unet" / "diffusion_pytorch_model.bin")
    elif kind == "half precision":
        from safetensors.torch import save_file

        save_file(tensors, path / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    else:
        torch.save(tensors, path / "unet" / "m-1.bin")
        index = {"weight_map": dict.fromkeys(tensors, "m-1.bin")}
        (path / "unet" / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps(index))
    opened = open_folder(path).tensors
    name = "model.diffusion_model.out.2.weight"
    assert torch.equal(opened[name].read(), weights_of(model)[name])


def test_full_safetensors_are_preferred(tmp_path):
    for name in ("model.bin", "model.fp16.safetensors", "model.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert find_weights(tmp_path).name == "model.safetensors"


def test_a_folder_without_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no model_index\.json.* give the folder that holds"):
        open_folder(tmp_path)


def test_another_pipeline_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(ValueError, match="Stable Diffusion XL, which is not supported"):
        open_folder(tmp_path)


def test_half_a_folder_is_said(folder):
    _, path = folder
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"unet holds no weights.* Half a download"):
        open_folder(path)
    shutil.rmtree(path / "vae")
    with pytest.raises(FileNotFoundError, match=r"lacks vae: half a download"):
        open_folder(path)
    (path / "model_index.json").write_text("{")
    with pytest.raises(ValueError, match=r"model_index\.json is not as it should be"):
        open_folder(path)


def test_nothing_is_overwritten_and_nothing_half_is_left(folder, clip_folder, tmp_path):
    _, path = folder
    tensors = open_folder(path).tensors
    with pytest.raises(ValueError, match="is not empty"):
        write_folder(path, tensors, {}, clip_folder)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyError):
        write_folder(tmp_path / "new", tensors, {"model_index": {}, "scheduler": {}}, clip_folder)
    assert sorted(tmp_path.iterdir()) == before
