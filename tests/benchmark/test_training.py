"""Laws of the training benchmark: what each timed step computes, counted, and the rows."""

import json
from collections import Counter

import pytest
import pytorch_lightning as pl
import torch

from benchmark import measuring, training
from benchmark.__main__ import main
from benchmark.peers import DiffusersStep
from benchmark.report import Row
from benchmark.training import GATED, GATED_TINY, PLAIN, RECIPES, Run, TrainingRequest
from benchmark.training_steps import OurStep, Recipe


class FakeStep:
    """A case that multiplies matrices and notes that it was called."""

    parameters, order = 1000, []

    def __init__(self, bench, recipe):
        if recipe.by_peer:
            raise ImportError("no diffusers")
        self.recipe, self.calls = recipe, Counter({"U-Net": 1})
        self.a = torch.randn(32, 32)

    def step(self):
        self.order.append(self.recipe.what)
        return float((self.a @ self.a).sum())

    def parts(self):
        return {"encode": self.step}


@pytest.fixture
def two_recipes(monkeypatch):
    """Row T2 has two recipes, and one whose package is missing; their order of calls is recorded."""
    recipes = (Recipe("T2", "a"), Recipe("T2", "b"), Recipe("T2", "c", by_peer=True))
    monkeypatch.setattr(training, "RECIPES", recipes)
    monkeypatch.setattr(training, "OurStep", FakeStep)
    monkeypatch.setattr(training, "DiffusersStep", FakeStep)
    monkeypatch.setattr(training, "measure_rates", lambda *_: (1e9, 1e9))
    monkeypatch.setattr(FakeStep, "order", [])
    return FakeStep


def measure(rounds, folder):
    return main(["training", "--rows", "T2", "--rounds", str(rounds), "--output", str(folder)])


def test_recipes_alternate_after_a_warm_up_and_the_table_is_written(two_recipes, tmp_path, capsys):
    """A floor is 2 x 32^3 operations at 1e9 a second, and 28 bytes x 1000 parameters at 1e9 bytes a second."""
    assert measure(2, tmp_path) == 0
    table = capsys.readouterr().out
    assert "".join(two_recipes.order[:6]) == "ab" + "abba"
    assert "| T2 | a |" in table and "left out: no diffusers" in table and "| encode, s |" in table
    assert (tmp_path / "training.md").read_text() == table
    missing, row, other = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert [of["what"] for of in (row, other, missing)] == ["a", "b", "c"] and missing["value"] is None
    assert list(row["counted"]) == ["samples/s", "U-Net calls", "encode, s"]
    assert row["floor"] == pytest.approx((2 * 32**3 + 28_000) / 1e9)
    assert row["counted"]["samples/s"] == pytest.approx(16 / row["value"])


def test_an_interrupted_run_keeps_its_rounds(two_recipes, tmp_path, monkeypatch):
    """Stopped in the second round: the file holds the first."""
    take, seconds_of = [], measuring.seconds_of

    def stop(*options):
        take.append(1)
        if len(take) == 4:
            raise KeyboardInterrupt
        return seconds_of(*options)

    monkeypatch.setattr(measuring, "seconds_of", stop)
    assert measure(2, tmp_path) == 130
    kept = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert [(row["what"], row["note"][:8]) for row in kept if row["value"]] == [("a", "1 rounds"), ("b", "1 rounds")]


@pytest.fixture
def make_run(make_bench):
    """Factory of runs of a round."""
    return lambda: Run(TrainingRequest(rounds=1), make_bench(num_pairs=16), (1e9, 1e9))


def test_an_epoch_follows_from_the_first_recipe_of_t3(make_run):
    run = make_run()
    assert not list(training.derive_epoch(run, "T5"))
    run.rows["T3", "x"] = Row("T3", "x", 1.0, counted={"samples/s": 1049.1})
    (epoch,) = training.derive_epoch(run, "T5")
    assert epoch.value == pytest.approx(10.0) and epoch.note == "computed, not run"


def test_each_row_gives_a_value(make_run):
    run = make_run()
    measures = training.measure_cache, training.measure_loader, training.measure_trainer
    (cache,), (loader,), (trainer,) = (
        measure(run, name) for name, measure in zip(("T4", "T7", "T8"), measures, strict=True)
    )
    assert all(row.value > 0 for row in (cache, loader, trainer))
    assert loader.peer > 0 and trainer.peer > 0 and "the Trainer adds" in trainer.note


def test_memory_is_weights_gradients_and_two_moments(make_run):
    """fp32 AdamW: 16 bytes a parameter, and a step count a tensor; LoRA keeps moments of its additions alone."""
    run = make_run()
    full, eight, lora = training.measure_memory(run, "T6")
    model = OurStep(run.bench, Recipe("T2", "x")).model.model
    number, tensors = sum(p.numel() for p in model.parameters()), len(list(model.parameters()))
    assert full.value * 2**30 == pytest.approx(16 * number, abs=8 * tensors)
    assert 4 * number < lora.value * 2**30 < 0.5 * full.value * 2**30
    assert eight.value is None or eight.value < full.value
    assert eight.value or "bitsandbytes" in eight.note


def test_clearing_away_is_no_part_of_a_step(make_bench, monkeypatch):
    """The clock jumps after the last step, where Lightning takes the model off the GPU."""
    late, fit = [0.0], pl.Trainer.fit
    clock = training.timer
    monkeypatch.setattr(training, "timer", lambda: clock() + late[0])
    monkeypatch.setattr(pl.Trainer, "fit", lambda *args: (fit(*args), late.__setitem__(0, 1e6)))
    assert 0 < training.step_of_trainer(OurStep(make_bench(), Recipe("T8", "x", 4, 4)), "32-true", 2) < 1e3


def test_the_peak_of_a_step_is_counted_from_the_made_model_on(make_run, monkeypatch):
    calls = []

    class Made:
        def __init__(self, *_, **__):
            calls.append("made")

        def advance(self):
            raise StopIteration

    run = make_run()
    run.bench.device = torch.device("cuda")
    monkeypatch.setattr(training, "OurStep", Made)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    with pytest.raises(RuntimeError, match="StopIteration"):  # as a generator turns it
        list(training.measure_memory(run, "T6"))
    assert calls == ["made", "reset"]


@pytest.fixture
def make(make_bench):
    bench = make_bench(num_pairs=4)
    return lambda **recipe: OurStep(bench, Recipe("T2", "x", **{"micro_batch": 4, "pairs": 4} | recipe))


def test_a_cached_step_calls_no_encoder_and_a_plain_one_encodes_all_of_each_micro_batch(make):
    """Two equal models, the same seeds: the losses differ by the half precision of cached latents alone."""
    cached, plain = make(), make(**PLAIN)
    assert cached.step() == pytest.approx(plain.step(), rel=1e-2)
    assert dict(cached.calls) == {"U-Net": 1}
    assert dict(plain.calls) == {"U-Net": 2, "VAE encoder": 4, "text encoder": 4}


def test_the_parts_are_those_of_a_step(make):
    parts = make(loss=GATED).parts()
    assert list(parts) == ["data", "encode", "U-Net", "loss hooks", "optimiser"]
    assert "loss hooks" not in make().parts()
    for act in parts.values():
        act()


def test_a_tiny_decoder_spares_the_first_stages(make):
    step = make(loss=GATED_TINY)
    assert step.step() > 0 and dict(step.calls) == {"U-Net": 1}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_forward_pass_runs_in_the_precision_that_is_asked_for(make_bench, dtype):
    step, seen = OurStep(make_bench(dtype), Recipe("T2", "x", 4, 4)), []
    layer = step.model.model.diffusion_model.input_blocks[0][0]
    layer.register_forward_hook(lambda *found: seen.append(found[2].dtype))
    assert step.step() > 0 and seen == [dtype]
    assert {p.dtype for p in step.model.trained_parameters()} == {torch.float32}


def test_diffusers_network_has_as_many_parameters(make, make_bench):
    pytest.importorskip("diffusers")
    (peer,) = (recipe for recipe in RECIPES if recipe.by_peer)
    step = DiffusersStep(make_bench(num_pairs=16), peer)
    assert step.parameters == make().parameters
    assert step.step() > 0 and step.calls["U-Net"] == 8 and list(step.parts()) == ["data"]
