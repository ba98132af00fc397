"""Factories for the tests of dataset_tools: episodes in every layout, and prepared folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dataset_tools.episode import Episode
from dataset_tools.prepare_dataset import main as prepare_dataset
from dataset_tools.readers.detect import find_episodes
from tests.dataset_tools.layouts import LAYOUTS

TASK = "block_hammer_beat"


@pytest.fixture
def episode_file(tmp_path: Path) -> Callable[..., Path]:
    """Write the moving-square episode: episode_file("hdf5", number=3, length=20) => the file or folder."""

    def write(layout: str = "hdf5", *, task: str = TASK, number: int = 0, length: int = 12, root: str = "data") -> Path:
        return LAYOUTS[layout](tmp_path / root, task, number, length)

    return write


@pytest.fixture
def episode(episode_file: Callable[..., Path]) -> Callable[..., Episode]:
    """The same, read back."""

    def make(layout: str = "hdf5", **options) -> Episode:
        path = episode_file(layout, **options)
        return find_episodes(path.parents[1] if layout == "clip" else path)[0]

    return make


@pytest.fixture
def episodes_folder(tmp_path: Path, episode_file: Callable[..., Path]) -> Callable[..., Path]:
    """A folder of several episodes of one layout."""

    def write(layout: str = "hdf5", *, tasks: tuple[str, ...] = (TASK,), count: int = 3, length: int = 12) -> Path:
        for task in tasks:
            for number in range(count):
                episode_file(layout, task=task, number=number, length=length)
        return tmp_path / "data"

    return write


@pytest.fixture
def prepared(tmp_path: Path, episodes_folder: Callable[..., Path]) -> Callable[..., Path]:
    """A prepared folder: prepared("--horizon", "5", count=4)."""

    def make(*arguments: str, name: str = "prepared", **options) -> Path:
        folder = episodes_folder(**options)
        output = tmp_path / name
        chosen = arguments or ("--horizon", "5")
        assert prepare_dataset(["--episodes", str(folder), "--output", str(output), "--workers", "1", *chosen]) == 0
        return output

    return make
