"""Factories: a prepared folder whose pictures follow a rule, and predictions for it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from formats.prepared_folder import FramePair, read_manifest, write_manifest

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


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Results are kept in the test's folder, never in the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCH_HOME", raising=False)


def make_pair_folder(folder: Path, num_episodes: int = 3, size: int = 16, split: str = "test", first: int = 0) -> Path:
    """A prepared folder: two tasks, png, a square moves from column episode % 3 to + 7."""
    pairs = []
    for task in TASKS:
        for episode in range(first, first + num_episodes):
            sample = f"{len(pairs):07d}"
            (folder / sample).mkdir(parents=True)
            for ending, step in (("0", episode % 3), ("1", episode % 3 + 7)):
                Image.fromarray(moving_square(step, size)).save(folder / sample / f"000000_{ending}.png")
            (folder / sample / "prompt.json").write_text(json.dumps({"edit": f"do {task}"}))
            names = (f"{task}/{episode}/0-50", sample, "000000", f"do {task}", ".png")
            pairs.append(FramePair(*names, split, task, episode, 0, 50))
    write_manifest(folder, pairs, {})
    return folder


def make_predictions(data: Path, output: Path, frame_of: Callable[[FramePair], np.ndarray | None]) -> Path:
    """A predictions folder: `frame_of` gives a uint8 picture, or None for none."""
    for pair in read_manifest(data):
        frame = frame_of(pair)
        if frame is not None:
            path = output / f"{pair.pair_id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
    return output


@pytest.fixture
def pair_folder(tmp_path):
    """`make_pair_folder` in the test's folder, by name."""
    return lambda name="data", **options: make_pair_folder(tmp_path / name, **options)


@pytest.fixture
def predict(tmp_path):
    """`make_predictions` in the test's folder, by name."""
    return lambda data, frame_of, name="model": make_predictions(data, tmp_path / name, frame_of)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run as main.py leaves it, with two checkpoints scored; made once, so tests that change it take a copy."""
    from metrics.compute_metrics import main

    base = tmp_path_factory.mktemp("run")
    data, folder = make_pair_folder(base / "data"), base / "logs" / "2026_run"
    for epoch, frame_of in ((2, lambda pair: noisy_picture(pair.episode)), (10, lambda pair: moving_square(7))):
        predictions = make_predictions(data, base / f"epoch{epoch}", frame_of)
        arguments = [
            "--data",
            data,
            "--predictions",
            f"model={predictions}",
            "--convention",
            "as_published",
            "--no-cache",
        ]
        assert main([str(a) for a in (*arguments, "--output", folder / "metrics" / f"epoch={epoch}")]) == 0
    rows = [f"{step},{step // 100},{1.0 / (step + 1)},{'' if step % 20 else 0.5},,3.5" for step in range(0, 200, 10)]
    head = "step,epoch,train/loss_simple,val/loss_simple,lr,gpu_memory_gib"
    (folder / "metrics.csv").write_text("\n".join([head, *rows]))
    part = {"command": "python main.py", "commit": "abc", "device": "CPU", "seconds": 3.0}
    (folder / "run.json").write_text(json.dumps({"steps": 190, "parts": [part]}))
    (folder / "config.yaml").write_text("resolution: 16\nmodel: {params: {learning_rate: 0.0001}}\n")
    (folder / "benchmark.json").write_text(json.dumps({"parameters": "1.2M", "seconds_15_frames": 3.5}))
    return folder
