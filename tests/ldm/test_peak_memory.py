"""Laws of peak memory."""

from pathlib import Path

import pytest

from ldm.peak_memory import peak_memory_mib

STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.is_file(), reason="the system keeps no such file")
def test_on_a_cpu_it_is_the_systems_high_water_mark():
    """In MiB, and not lower once memory is freed."""
    held = b"x" * 2**26
    before = peak_memory_mib()
    del held
    mark = next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    assert abs(peak_memory_mib() - mark / 1024) <= 1
    assert peak_memory_mib() >= before >= 64


def test_with_a_gpu_in_use_it_is_the_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 5 * 2**20)
    assert peak_memory_mib() == 5
