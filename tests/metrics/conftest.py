"""Factories: a prepared folder whose pictures follow a rule, and predictions for it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.data.manifest import FramePair, write_manifest

TASKS = ("block_hammer_beat", "block_handover")


def noisy_picture(seed: int, size: int = 16) -> np.ndarray:
    """uint8 (size, size, 3), smooth enough for SSIM to be neither 0 nor 1."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(60, 180, size)[None, :, None]
    return np.clip(ramp + generator.normal(0, 25, (size, size, 3)), 0, 255).astype(np.uint8)


def moving_square(step: int, size: int = 16, colour: tuple[int, int, int] = (250, 10, 10)) -> np.ndarray:
    """A 4 x 4 coloured square on grey, `step` pixels to the right."""
    frame = np.full((size, size, 3), 128, np.uint8)
    frame[6:10, 1 + step : 5 + step] = colour
    return frame


@pytest.fixture
def pair_folder(tmp_path):
    """Make a prepared folder: two tasks, `num_episodes` each, png, a square moves from episode % 3 to + 7."""

    def make(name: str = "data", num_episodes: int = 3, size: int = 16, split: str = "test", first: int = 0) -> Path:
        folder = tmp_path / name
        pairs = []
        for task in TASKS:
            for episode in range(first, first + num_episodes):
                sample = f"{len(pairs):07d}"
                (folder / sample).mkdir(parents=True)
                for ending, step in (("0", episode % 3), ("1", episode % 3 + 7)):
                    Image.fromarray(moving_square(step, size)).save(folder / sample / f"000000_{ending}.png")
                (folder / sample / "prompt.json").write_text(json.dumps({"edit": f"do {task}"}))
                pairs.append(
                    FramePair(
                        f"{task}/{episode}/0-50", sample, "000000", f"do {task}", ".png", split, task, episode, 0, 50
                    )
                )
        write_manifest(folder, pairs, {})
        return folder

    return make


@pytest.fixture
def predict(tmp_path):
    """Make a predictions folder from `frame_of(pair) -> uint8 picture or None`."""

    def make(folder: Path, frame_of, name: str = "model") -> Path:
        from ldm.data.manifest import read_manifest

        output = tmp_path / name
        for pair in read_manifest(folder):
            frame = frame_of(pair)
            if frame is not None:
                path = output / f"{pair.pair_id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(frame).save(path)
        return output

    return make
