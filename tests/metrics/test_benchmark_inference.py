"""The benchmark's own laws: parity before speed, calls at their theoretical least, both sides asked the same."""

import json

import pytest
import torch

from ldm.predictor import Runtime
from metrics import benchmark_inference as benchmark

pytest.importorskip("diffusers")

CPU = torch.device("cpu")
SMALL = benchmark.Shape(32, (1, 2), 32, 32, 32, 2)


@pytest.fixture(scope="module")
def systems():
    return benchmark.make_systems(SMALL, Runtime(), CPU, tuned=False)


@pytest.fixture
def frames():
    return torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def row(name):
    return next(row for row in benchmark.make_rows(SMALL) if row.name == name)


@pytest.mark.reference
def test_final_latents_equal_diffusers(systems, frames):
    assert benchmark.measure_parity(systems, frames) < 1e-4


@pytest.mark.reference
@pytest.mark.parametrize("name", ["I4", "I5", "I6b"])
def test_both_sides_draw_the_same_pictures(systems, frames, name):
    """The rows' samplers, guidance and batches mean the same to both; rounding may differ by a grey level."""
    ours, theirs = systems.ours(row(name), frames), systems.theirs(row(name), frames)
    assert ours.shape == theirs.shape == frames.shape
    assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.reference
@pytest.mark.parametrize(("name", "network", "coders"), [("I4", 10, 1), ("I4s", 20, 2), ("I5", 4, 1), ("I6b", 1, 1)])
def test_calls_are_as_few_as_can_be(systems, frames, name, network, coders):
    """All guidance branches and frames in one network call a step, one encoding, one decoding, no repeated text."""
    systems.ours(row(name), frames[:1])
    counted = benchmark.count_calls(systems, row(name), frames)
    assert counted == {"network": network, "encoder": coders, "decoder": coders, "text": 0}


@pytest.mark.reference
def test_work_grows_with_steps_and_branches(systems, frames):
    flop = {name: benchmark.measure_flop(systems, row(name), frames) for name in ("I6b", "I5", "I4")}
    assert flop["I6b"] < flop["I5"] < flop["I4"]


@pytest.mark.reference
def test_a_report_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(benchmark.SHAPES, "tiny", SMALL)
    assert benchmark.run(["--rows", "I6", "--rounds", "1", "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "benchmark_inference_tiny_cpu.json").read_text())
    assert written["rows"][0]["network_calls"] == 1 and written["facts"]["parity"] < 1e-3
    assert "| I6 | 1 frame, one step |" in capsys.readouterr().out


@pytest.mark.reference
def test_nothing_is_timed_without_parity(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(benchmark.SHAPES, "tiny", SMALL)
    monkeypatch.setattr(benchmark, "measure_parity", lambda *_: float("nan"))
    assert benchmark.run(["--rows", "I6", "--output", str(tmp_path)]) == 1
    assert "no row is measured" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_unknown_rows_are_named():
    with pytest.raises(ValueError, match="some of I1, I2"):
        benchmark.run(["--rows", "X9"])


def test_the_systems_alternate():
    order = []
    benchmark.time_alternating(lambda: order.append("a"), lambda: order.append("b"), 2, CPU)
    assert "".join(order) == "ab" + "abba" * 2
