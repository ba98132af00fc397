"""Factories that tests share: a tiny model's config, a prepared folder whose pixels tell the frame."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from formats.prepared_folder import FramePair, write_manifest

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(1)  # the tests' tensors are too small to share, and shared cores stall
os.environ.setdefault("WANDB_MODE", "disabled")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data: {SHARED} is absent")
    return SHARED


@pytest.fixture(scope="session")
def real_episode(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real RoboTwin 1.0 episode."""
    folder = tmp_path_factory.mktemp("real") / "block_hammer_beat_sf50_D435_pkl"
    with tarfile.open(shared / "data" / "robotwin1_episode" / "episode0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def real_clips(shared: Path) -> Path:
    """Real robots' clips: DROID, Bridge, RT-1, xhand."""
    return shared / "data" / "real_clips"


@pytest.fixture(scope="session")
def can_draw() -> None:
    """Skips where no picture can be drawn."""
    from simulator.engine import RendererUnavailable, require_renderer

    try:
        require_renderer()
    except RendererUnavailable as error:
        pytest.skip(f"no pictures: {error}")


@pytest.fixture
def tiny_model_config() -> dict:
    """Node of a LatentDiffusion of a few thousand parameters on 8 x 8 frames in patches of 2."""
    return {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "learning_rate": 1e-3,
            "timesteps": 1000,
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "parameterization": "x0",
            "scale_factor": 1.0,
            "conditioning_dropout": 0.05,
            "cond_stage_trainable": True,
            "ema_decay": 0.99,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "in_channels": 24,
                    "out_channels": 12,
                    "model_channels": 32,
                    "num_res_blocks": 1,
                    "attention_resolutions": [2],
                    "channel_mult": [1, 1],
                    "num_heads": 2,
                    "context_dim": 16,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.PatchFirstStage",
                "params": {"patch_size": 2},
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.ByteTextEmbedder",
                "params": {"width": 16, "layers": 1, "heads": 2, "max_length": 16},
            },
        },
    }


@pytest.fixture
def kl_node() -> Callable[..., dict]:
    """Factory of nodes of small KL first stages of 4 channels, and of models that predict in their latents."""

    def make(ch_mult: tuple[int, ...] = (1, 1), model: dict | None = None, **params: Any) -> dict:
        coder = {"ch": 32, "ch_mult": list(ch_mult), "num_res_blocks": 1, "z_channels": 4, "resolution": 16}
        target = "ldm.models.autoencoder.AutoencoderKL"
        node = {"target": target, "params": {"embed_dim": 4, "ddconfig": coder}}
        if model is None:
            return node
        unet = {**model["params"]["unet_config"]}
        unet["params"] = unet["params"] | {"in_channels": 8, "out_channels": 4}
        params = model["params"] | {"unet_config": unet, "first_stage_config": node} | params
        return {**model, "params": params}

    return make


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a CLIP tokenizer that knows bytes only: 512 of them and two marks."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return folder


def draw_square(frame: int, size: int = 16) -> np.ndarray:
    """uint8 (size, size, 3): grey, with a red square of 3 pixels whose left edge is at column `frame`."""
    pixels = np.full((size, size, 3), 128, np.uint8)
    pixels[4:7, frame % (size - 2) : frame % (size - 2) + 3] = (255, 0, 0)
    return pixels


@pytest.fixture
def pair_folder(tmp_path: Path) -> Callable[..., Path]:
    """Factory of prepared folders of a red square that moves one pixel a frame."""

    def make(num_episodes: int = 4, length: int = 8, horizon: int = 3, size: int = 16, name: str = "prepared") -> Path:
        folder = tmp_path / name
        pairs = []
        for episode in range(num_episodes):
            split = ("train", "train", "val", "test")[episode % 4]
            for source in range(length - horizon):
                sample, seed = f"{len(pairs):07d}", f"{len(pairs):06d}"
                (folder / sample).mkdir(parents=True)
                for suffix, frame in (("0", source), ("1", source + horizon)):
                    Image.fromarray(draw_square(frame, size)).save(folder / sample / f"{seed}_{suffix}.png")
                (folder / sample / "prompt.json").write_text(json.dumps({"edit": "move the square"}))
                pairs.append(
                    FramePair(
                        f"square/{episode}/{source}-{source + horizon}",
                        sample,
                        seed,
                        "move the square",
                        suffix=".png",
                        split=split,
                        task="square",
                        episode=episode,
                        source_index=source,
                        target_index=source + horizon,
                        frames_per_second=5.0,
                    )
                )
        write_manifest(folder, pairs, {"made_by": "tests"})
        return folder

    return make
