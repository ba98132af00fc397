"""What tests of whole runs of main.py share: processes of their own, episodes of noise, the weights that runs leave."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from formats.prepared_episodes import Motion, PreparedEpisode, finish_folder, measure_statistics, write_episode
from formats.run_folder import RUN_VARIABLE

ROOT = Path(__file__).resolve().parents[1]


def launch(argv: Sequence[str], launcher: Sequence[str] = (), **options: object) -> subprocess.Popen:
    """main.py in a process of its own, on one core; `options` are Popen's."""
    environment = {k: v for k, v in os.environ.items() if k != RUN_VARIABLE} | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, *launcher, "main.py", *argv]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **options)


def wait_until(done: Callable[[], bool], process: subprocess.Popen, seconds: float = 300) -> None:
    """Wait while the process runs; an AssertionError with its words if it ends first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if done():
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


def write_noise_episodes(folder: Path, splits: Sequence[str], length: int, draw_every: int = 1) -> Path:
    """Prepared episodes of noise, one a split, with the cameras of the policies' recipes."""
    cameras, generator = {"head_camera": 128, "left_camera": 64, "right_camera": 64}, np.random.default_rng(0)
    listed, motions = [], []
    for number, split in enumerate(splits):
        named = (f"block_handover/{number}", "block_handover", number, split, length, tuple(cameras), ("hand it over",))
        episode = PreparedEpisode(*named, frames_per_second=16.7, draw_every=draw_every)
        states = generator.normal(0, 0.1, (length, 14)).astype(np.float32)
        motion = Motion(states, np.roll(states, -1, 0), states, np.ones((length, 1, 7), np.float32))
        shapes = {camera: (episode.num_pictures, side, side, 3) for camera, side in cameras.items()}
        frames = {camera: generator.integers(0, 255, shape, np.uint8) for camera, shape in shapes.items()}
        write_episode(folder / episode.episode_id, episode, frames, motion)
        listed.append(episode)
        motions += [motion] if split == "train" else []
    finish_folder(folder, listed, measure_statistics(motions, 32, relative=True), {})
    return folder


def read_last(run: Path) -> dict:
    """The run folder's last checkpoint."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_weights(one: Path, other: Path, key: str = "state_dict") -> None:
    """The last checkpoints of two run folders hold the same, bit for bit."""
    first, second = (read_last(run)[key] for run in (one, other))
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different
