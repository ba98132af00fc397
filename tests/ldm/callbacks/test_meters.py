"""Laws of the smoothed loss, the speed and the GPU readings."""

import logging
from types import SimpleNamespace

import pytest
import torch

from ldm.callbacks import meters
from ldm.callbacks.meters import GpuStats, SmoothedLoss


class Module:
    device = torch.device("cpu")

    def __init__(self):
        self.logged = []

    def log(self, name, value, **_):
        assert name == "train/loss_smoothed"
        self.logged.append(float(value))


def feed(callback, losses, micro_batches=1):
    module, trainer = Module(), SimpleNamespace(accumulate_grad_batches=micro_batches)
    for loss in losses:
        callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, {"pair_id": ["a"]}, 0)
    return module.logged


def test_it_is_the_mean_of_the_last_losses_however_they_accumulate():
    """Lightning divides the loss by the micro-batches; the raw loss is meant."""
    assert feed(SmoothedLoss(3), [1.0, 2.0, 3.0, 10.0]) == [1.0, 1.5, 2.0, 5.0]
    assert feed(SmoothedLoss(2), [0.25, 0.5], micro_batches=4) == [1.0, 1.5]


def test_a_resumed_run_goes_on_with_the_window():
    first, second = SmoothedLoss(3), SmoothedLoss(3)
    feed(first, [1.0, 2.0])
    second.load_state_dict(first.state_dict())
    second.on_train_start(None, Module())
    assert feed(second, [6.0]) == [3.0]
    with pytest.raises(ValueError, match="window 0"):
        SmoothedLoss(0)


def test_counts_samples_of_all_devices_between_readings(monkeypatch, caplog):
    """Two devices, batches of 4, one second a micro-batch: 8 samples a second."""
    clock = iter(range(100))
    monkeypatch.setattr(meters.time, "perf_counter", lambda: next(clock) * 3.0)
    callback = meters.Throughput(every_n_steps=3)
    trainer = SimpleNamespace(global_step=0, world_size=2, is_global_zero=True)
    logged = {}
    module = SimpleNamespace(log=logged.__setitem__)
    callback.on_train_start(trainer, module)
    with caplog.at_level(logging.INFO):
        for step in range(1, 4):
            trainer.global_step = step
            outputs = {"loss": torch.tensor(0.5)}
            callback.on_train_batch_end(trainer, module, outputs, {"pair_id": ["a"] * 4}, step)
    assert logged["samples_per_second"] == pytest.approx(8.0)
    assert "step 3: loss 0.5000, 8.0 samples/s" in caplog.text


def module(kind):
    logged = {}
    return SimpleNamespace(
        device=torch.device(kind), logged=logged, log=lambda name, value, **_: logged.update({name: value})
    )


def at(step):
    return SimpleNamespace(global_step=step, is_global_zero=True, device_ids=[0])


def test_without_a_gpu_nothing_is_logged():
    cpu = module("cpu")
    GpuStats(1).on_train_batch_end(at(1), cpu, None, {"pair_id": ["a"]}, 0)
    assert not cpu.logged


@pytest.fixture
def cuda(monkeypatch):
    """GPUs of which each has 1 GiB in use, had 3 at most, and is busy for ten times its number in percent."""
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "utilization", lambda gpu: 10 * gpu)


def test_readings_come_every_n_steps_and_once_a_step(cuda):
    gpu, callback = module("cuda"), GpuStats(2)
    for step in (1, 2):
        callback.on_train_batch_end(at(step), gpu, None, {"pair_id": ["a"]}, 0)
        assert bool(gpu.logged) == (step == 2)
    assert gpu.logged == {"gpu/memory_allocated_gib": 1, "gpu/memory_peak_gib": 3, "gpu/utilization_percent": 0}
    gpu.logged.clear()
    callback.on_train_batch_end(at(2), gpu, None, {"pair_id": ["a"]}, 1)
    assert not gpu.logged


def test_every_gpu_of_a_run_is_read(cuda):
    read = GpuStats(1).read(torch.device("cuda"), [1, 3])
    assert read["utilization_percent_1"] == 10 and read["utilization_percent_3"] == 30


def test_a_missing_driver_library_is_said_once(cuda, monkeypatch, caplog):
    def absent(_):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", absent)
    callback = GpuStats(1)
    for _ in range(2):
        assert "utilization_percent" not in callback.read(torch.device("cuda"), [0, 1])
    assert len(caplog.records) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_real_gpu_is_read():
    assert GpuStats(1).read(torch.device("cuda"), [0])["memory_peak_gib"] >= 0
