"""Laws of the benchmark's rows T4 to T8."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from benchmark import training_rows
from benchmark import training_steps as training_cases
from benchmark.training_data import Bench
from benchmark.training_steps import SIZES

CPU = torch.device("cpu")
SMALL = SIZES["tiny"] | {
    "resolution": 16,
    "unet": SIZES["tiny"]["unet"] | {"channel_mult": [1], "attention_resolutions": [1]},
    "first_stage": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    for module in (training_cases, training_rows):
        monkeypatch.setattr(module, "PAIRS", 4)
    monkeypatch.setattr(training_rows, "LOADED", 8)
    return Bench(SMALL, CPU, tmp_path, num_pairs=16)


def test_a_rate_counts_after_a_warm_up(monkeypatch):
    ticks, calls = iter([0.0, 2.0, 10.0, 14.0]), []
    monkeypatch.setattr(training_rows.time, "perf_counter", lambda: next(ticks))
    assert training_rows.per_second(lambda: calls.append(1), 8, CPU, rounds=2) == [4.0, 2.0]
    assert len(calls) == 3


def test_an_epoch_is_computed_from_a_rate():
    line = training_rows.derive_epoch(1049.1, "T3 x")
    assert line.value == pytest.approx(10.0) and line.note == "computed, not run"


def test_each_row_gives_a_value(bench):
    cache = training_rows.measure_cache(bench, 1)
    loader = training_rows.measure_loader(bench, 1)
    trainer = training_rows.measure_trainer(bench, "fp32", 2, 1)
    assert all(line.value > 0 for line in (cache, loader, trainer))
    assert loader.peer > 0 and trainer.peer > 0 and "the Trainer adds" in trainer.note


def test_memory_is_weights_gradients_and_two_moments(bench):
    """fp32 AdamW: 16 bytes a parameter, and a step count a tensor; LoRA keeps moments of its additions alone."""
    full, eight, lora = training_rows.measure_memory(bench)
    model = training_cases.OurStep(bench, 4, True, None).model.model
    number, tensors = sum(p.numel() for p in model.parameters()), len(list(model.parameters()))
    assert full.value * 2**30 == pytest.approx(16 * number, abs=8 * tensors)
    assert 4 * number < lora.value * 2**30 < 0.5 * full.value * 2**30
    assert eight.value is None or eight.value < full.value
    assert eight.value or "bitsandbytes" in eight.note


def test_clearing_away_is_no_part_of_a_step(bench, monkeypatch):
    """The clock jumps after the last step, where Lightning takes the model off the GPU."""
    late, fit = [0.0], pl.Trainer.fit
    clock = training_rows.time.perf_counter
    monkeypatch.setattr(training_rows, "time", SimpleNamespace(perf_counter=lambda: clock() + late[0]))
    monkeypatch.setattr(pl.Trainer, "fit", lambda *args: (fit(*args), late.__setitem__(0, 1e6)))
    made = training_cases.OurStep(bench, 4, True, None)
    assert 0 < training_rows._step_of_trainer(bench, made, "32-true", 2) < 1e3


def test_the_peak_of_a_step_is_counted_from_the_made_model_on(monkeypatch):
    calls = []

    class Made:
        learn = encode = None

        def __init__(self, *_, **__):
            calls.append("made")

        def data(self):
            raise StopIteration

    monkeypatch.setattr(training_rows, "OurStep", Made)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    with pytest.raises(StopIteration):
        training_rows._measure_memory(SimpleNamespace(device=torch.device("cuda")), "x", 4, {})
    assert calls == ["made", "reset"]
