"""edit_cli takes every format of checkpoint, and finds the config by itself."""

import numpy as np
import pytest
from PIL import Image

import edit_cli
from ldm.modules.encoders import modules
from stable_diffusion.convert import convert


@pytest.fixture
def checkpoints(make_model, weights_of, write, clip_folder, tmp_path, monkeypatch):
    """One small model as .ckpt, as .safetensors and as a diffusers folder; the tokenizer where `fetch` puts it."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "clip-vit-large-patch14").symlink_to(clip_folder)
    monkeypatch.setattr(modules, "WEIGHTS_FOLDER", tmp_path / "weights")
    model = make_model()
    heads = {"unet_heads": "4", "text_heads": "2"}
    paths = [write("x.ckpt", weights_of(model), **heads), write("x.safetensors", weights_of(model), **heads)]
    convert(paths[1], tmp_path / "diffusers", "diffusers", tokenizer=clip_folder)
    return [*paths, tmp_path / "diffusers"]


def test_one_model_predicts_alike_from_every_format(checkpoints, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    pictures = []
    for path in checkpoints:
        output = tmp_path / f"{path.name}.png"
        flags = ["--resolution", "16", "--steps", "2", "--ckpt", str(path), "--output", str(output)]
        assert edit_cli.main(["--input", str(tmp_path / "in.png"), "--edit", "stack blocks", *flags]) == 0
        pictures.append(np.asarray(Image.open(output)).astype(int))
    assert pictures[0].shape == (24, 32, 3)
    assert all(np.abs(picture - pictures[0]).max() <= 1 for picture in pictures)
