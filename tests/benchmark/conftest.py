"""Factories of the benchmark's tests: episodes to prepare, a small place to train, the smallest model that predicts."""

from pathlib import Path

import pytest
import torch
import yaml

from benchmark import workload
from benchmark.request import Request
from benchmark.workload import Bench, read_size
from tests.dataset_tools.conftest import episode, episode_file, episodes_folder  # noqa: F401 - fixtures

CPU = torch.device("cpu")
SMALLEST = {  # over tiny.yaml
    "resolution": 16,
    "model": {
        "params": {
            "unet_config": {"params": {"channel_mult": [1], "attention_resolutions": [1]}},
            "first_stage_config": {"params": {"ddconfig": {"ch_mult": [1, 1, 1, 1]}}},
        }
    },
}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Requests find no accelerator."""
    monkeypatch.setattr(Request, "device", CPU)


@pytest.fixture
def small_config(tmp_path, monkeypatch) -> dict:
    """Config of a model smaller than tiny, for pictures of 16 pixels."""
    (tmp_path / "configs").mkdir()
    for path in Path(workload.CONFIGS).glob("*.yaml"):
        (tmp_path / "configs" / path.name).write_text(path.read_text())
    (tmp_path / "configs" / "smallest.yaml").write_text(yaml.safe_dump(SMALLEST))
    monkeypatch.setattr(workload, "CONFIGS", tmp_path / "configs")
    return read_size("tiny", "smallest")


@pytest.fixture
def make_bench(small_config, tmp_path):
    """Factory of places to train."""
    return lambda dtype=None, num_pairs=8: Bench(small_config, CPU, tmp_path, dtype, num_pairs)
