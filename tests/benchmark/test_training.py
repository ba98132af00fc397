"""Laws of the training benchmark: what each timed step computes, counted, and the rows."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from benchmark import measuring, training
from benchmark.measuring import Row
from benchmark.peers import DiffusersStep
from benchmark.training import TrainingRequest
from benchmark.training_steps import OurStep, image_loss, tiny_decoder

CPU = torch.device("cpu")


class FakeStep:
    """A case that multiplies matrices and notes that it was called."""

    pairs, parameters = 16, 1000

    def __init__(self, name, order):
        self.name, self.order, self.calls = f"T2 {name}", order, Counter({"U-Net": 1})
        self.a = torch.randn(32, 32)

    def step(self):
        self.order.append(self.name[-1])
        return float((self.a @ self.a).sum())

    def parts(self):
        return {"encode": self.step}


@pytest.fixture
def two_cases(monkeypatch):
    """Row T2 has two cases; their order of calls is recorded."""
    order = []
    cases = [FakeStep("a", order), FakeStep("b", order)]
    monkeypatch.setattr(training, "make_cases", lambda *_: (cases, ["a note"]))
    monkeypatch.setattr(training, "measure_rates", lambda *_: (1e9, 1e9))
    return order


def request(rounds=1, rows=("T2",)):
    return TrainingRequest(CPU, "tiny", rows=rows, rounds=rounds, steps=1)


def test_cases_alternate_after_a_warm_up_and_the_table_is_written(two_cases, tmp_path):
    """A floor is 2 x 32^3 operations at 1e9 a second, and 28 bytes x 1000 parameters at 1e9 bytes a second."""
    table = training.run(request(rounds=2), tmp_path)
    assert "".join(two_cases[:6]) == "ab" + "abba"
    assert "| T2 a |" in table and "a note" in table and "GFLOP/s" in table and "data | encode | U-Net" in table
    assert (tmp_path / "training.md").read_text() == table + "\n"
    row, other = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert (row["case"], other["case"], row["calls"], list(row["parts"])) == ("T2 a", "T2 b", {"U-Net": 1}, ["encode"])
    assert row["floor_seconds"] == pytest.approx((2 * 32**3 + 28_000) / 1e9)
    assert row["times_floor"] == pytest.approx(row["seconds"] / row["floor_seconds"])
    assert row["samples_per_second"] == pytest.approx(16 / row["seconds"])


def test_an_interrupted_run_keeps_its_rounds(two_cases, tmp_path, monkeypatch):
    """Stopped in the second round: the file holds the first."""
    take, seconds_of = [], measuring.seconds_of

    def stop(*options):
        take.append(1)
        if len(take) == 4:
            raise KeyboardInterrupt
        return seconds_of(*options)

    monkeypatch.setattr(measuring, "seconds_of", stop)
    with pytest.raises(KeyboardInterrupt):
        training.run(request(rounds=2), tmp_path)
    kept = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert [(row["case"], row["rounds"]) for row in kept] == [("T2 a", 1), ("T2 b", 1)]


def test_other_rows_are_lines(two_cases, monkeypatch):
    line = Row("T7", "loader", 10.0, "samples/s", 2.0, "PIL")
    monkeypatch.setattr(training, "measure_loader", lambda *_: line)
    assert "| T7 | loader | 10 samples/s | - | PIL 2 samples/s | 5 |" in training.run(request(rows=("T7",)))
    epoch = training.derive_epoch(1049.1, "T3 x")
    assert epoch.value == pytest.approx(10.0) and epoch.note == "computed, not run"


def test_each_row_gives_a_value(make_bench):
    bench = make_bench(num_pairs=16)
    cache = training.measure_cache(bench, 1)
    loader = training.measure_loader(bench, 1)
    trainer = training.measure_trainer(bench, "fp32", 2, 1)
    assert all(row.value > 0 for row in (cache, loader, trainer))
    assert loader.peer > 0 and trainer.peer > 0 and "the Trainer adds" in trainer.note


def test_memory_is_weights_gradients_and_two_moments(make_bench):
    """fp32 AdamW: 16 bytes a parameter, and a step count a tensor; LoRA keeps moments of its additions alone."""
    bench = make_bench(num_pairs=16)
    full, eight, lora = (training.measure_memory(bench, *case) for case in flat(training.MEMORY_CASES))
    model = OurStep(bench, "x", 4, True).model.model
    number, tensors = sum(p.numel() for p in model.parameters()), len(list(model.parameters()))
    assert full.value * 2**30 == pytest.approx(16 * number, abs=8 * tensors)
    assert 4 * number < lora.value * 2**30 < 0.5 * full.value * 2**30
    assert eight.value is None or eight.value < full.value
    assert eight.value or "bitsandbytes" in eight.note


def flat(cases):
    return [(name, *case) for name, case in cases.items()]


def test_clearing_away_is_no_part_of_a_step(make_bench, monkeypatch):
    """The clock jumps after the last step, where Lightning takes the model off the GPU."""
    late, fit = [0.0], pl.Trainer.fit
    clock = training.timer
    monkeypatch.setattr(training, "timer", lambda: clock() + late[0])
    monkeypatch.setattr(pl.Trainer, "fit", lambda *args: (fit(*args), late.__setitem__(0, 1e6)))
    bench = make_bench()
    assert 0 < training._step_of_trainer(bench, OurStep(bench, "x", 4, True), "32-true", 2) < 1e3


def test_the_peak_of_a_step_is_counted_from_the_made_model_on(monkeypatch):
    calls = []

    class Made:
        learn = encode = None

        def __init__(self, *_, **__):
            calls.append("made")

        def data(self):
            raise StopIteration

    monkeypatch.setattr(training, "OurStep", Made)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    with pytest.raises(StopIteration):
        training.measure_memory(SimpleNamespace(device=torch.device("cuda")), "x", 4, {})
    assert calls == ["made", "reset"]


@pytest.fixture
def make(make_bench):
    bench = make_bench(num_pairs=4)
    return lambda micro_batch, cached, loss=None: OurStep(bench, "x", micro_batch, cached, loss)


def test_a_cached_step_calls_no_encoder_and_a_plain_one_encodes_all_of_each_micro_batch(make):
    """Two equal models, the same seeds: the losses differ by the half precision of cached latents alone."""
    cached, plain = make(4, True), make(2, False)
    assert cached.step() == pytest.approx(plain.step(), rel=1e-2)
    assert dict(cached.calls) == {"U-Net": 1}
    assert dict(plain.calls) == {"U-Net": 2, "VAE encoder": 4, "text encoder": 4}


def test_the_parts_are_those_of_a_step(make):
    parts = make(4, True, image_loss("gated", crop=16)).parts()
    assert list(parts) == ["data", "encode", "U-Net", "loss hooks", "optimiser"]
    assert "loss hooks" not in make(4, True).parts()
    for act in parts.values():
        act()


def test_a_tiny_decoder_spares_the_first_stages(make):
    step = make(4, True, image_loss("gated", tiny_decoder_config=tiny_decoder(0.18215)))
    assert step.step() > 0 and dict(step.calls) == {"U-Net": 1}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_forward_pass_runs_in_the_precision_that_is_asked_for(make_bench, dtype):
    step, seen = OurStep(make_bench(dtype), "x", 4, True), []
    layer = step.model.model.diffusion_model.input_blocks[0][0]
    layer.register_forward_hook(lambda *found: seen.append(found[2].dtype))
    assert step.step() > 0 and seen == [dtype]
    assert {p.dtype for p in step.model.trained_parameters()} == {torch.float32}


def test_diffusers_network_has_as_many_parameters(make, make_bench):
    pytest.importorskip("diffusers")
    step = DiffusersStep(make_bench(num_pairs=16))
    assert step.parameters == make(4, True).parameters
    assert step.step() > 0 and step.calls["U-Net"] == 8 and list(step.parts()) == ["data"]
