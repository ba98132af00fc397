"""Laws of the GPU readings."""

from types import SimpleNamespace

import pytest
import torch

from ldm.callbacks.gpu_stats import GpuStats


def module(kind):
    logged = {}
    return SimpleNamespace(
        device=torch.device(kind), logged=logged, log=lambda name, value, **_: logged.update({name: value})
    )


def at(step):
    return SimpleNamespace(global_step=step)


def test_without_a_gpu_nothing_is_logged():
    cpu = module("cpu")
    GpuStats(1).on_train_batch_end(at(1), cpu, None, {"pair_id": ["a"]}, 0)
    assert not cpu.logged


def test_readings_come_every_n_steps_and_once_a_step(monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "utilization", lambda _: 87)
    gpu, callback = module("cuda"), GpuStats(2)
    for step in (1, 2):
        callback.on_train_batch_end(at(step), gpu, None, {"pair_id": ["a"]}, 0)
        assert bool(gpu.logged) == (step == 2)
    assert gpu.logged == {"gpu/memory_allocated_gib": 1, "gpu/memory_peak_gib": 3, "gpu/utilization_percent": 87}
    gpu.logged.clear()
    callback.on_train_batch_end(at(2), gpu, None, {"pair_id": ["a"]}, 1)
    assert not gpu.logged


def test_a_missing_driver_library_is_said_once(monkeypatch, caplog):
    def absent(_):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "utilization", absent)
    callback = GpuStats(1)
    for _ in range(2):
        assert "utilization_percent" not in callback.read(torch.device("cuda"))
    assert len(caplog.records) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_real_gpu_is_read():
    assert GpuStats(1).read(torch.device("cuda"))["memory_peak_gib"] >= 0
