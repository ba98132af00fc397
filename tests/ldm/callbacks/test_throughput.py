"""Laws of the speed reading."""

import logging
from types import SimpleNamespace

import pytest
import torch

from ldm.callbacks import throughput


def test_counts_samples_of_all_devices_between_readings(monkeypatch, caplog):
    """Two devices, batches of 4, one second a micro-batch: 8 samples a second."""
    clock = iter(range(100))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock) * 3.0)
    callback = throughput.Throughput(every_n_steps=3)
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
