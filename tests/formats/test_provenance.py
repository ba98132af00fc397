"""Results name the code and the machine that made them; numbers drawn from names are the same everywhere."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from formats import provenance
from formats.hashing import sha256_of_file, stable_fraction, stable_number

STATUS = Path("/proc/self/status")


def test_device_and_commit_are_named_or_said_to_be_unknown(monkeypatch, tmp_path):
    assert provenance.describe_device(torch.device("cpu")).endswith("threads")
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|unknown", provenance.read_commit())
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.read_commit() == "unknown"


@pytest.mark.skipif(not STATUS.is_file(), reason="the system keeps no such file")
def test_on_a_cpu_peak_memory_is_the_systems_high_water_mark():
    """In MiB, and not lower once memory is freed."""
    held = b"x" * 2**26
    before = provenance.peak_memory_mib()
    del held
    mark = next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    assert abs(provenance.peak_memory_mib() - mark / 1024) <= 1
    assert provenance.peak_memory_mib() >= before >= 64


def test_with_a_gpu_in_use_peak_memory_is_the_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 5 * 2**20)
    assert provenance.peak_memory_mib() == 5


def test_a_process_without_torch_stays_without_it():
    command = (
        "import sys; from formats.provenance import peak_memory_mib as p; assert p() and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", command], check=True)


def test_the_same_name_gives_the_same_number_on_every_machine():
    """A stored value: if it moves, every split made so far moves."""
    assert stable_number("block_hammer_beat", 7) == 14308626863401976972


def test_parts_are_not_run_together():
    assert stable_number("a", "bc") != stable_number("ab", "c")


def test_fractions_are_spread_evenly_over_the_unit_interval():
    draws = np.array([stable_fraction("spread", number) for number in range(4000)])
    assert draws.min() >= 0 and draws.max() < 1
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert abs(counts - 400).max() < 5 * np.sqrt(400 * 0.9)


def test_digest_of_a_file_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf") and len(sha256_of_file(tmp_path / "abc")) == 64
