"""The benchmark's own laws: parity before speed, calls at their theoretical least, both sides asked the same."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmark import inference as benchmark
from benchmark import peers as inference_systems
from benchmark.measuring import Result
from benchmark.peers import Shape, make_systems
from prediction.predictor import Runtime

pytest.importorskip("diffusers")

CPU = torch.device("cpu")
SMALL = Shape(32, (1, 2), 32, 32, 32, 2, blocks=1, tiny_width=8)


@pytest.fixture(scope="module")
def systems():
    return make_systems(SMALL, Runtime(), CPU, tuned=False)


@pytest.fixture
def frames():
    return torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def row(name):
    return next(row for row in benchmark.make_rows(SMALL) if row.name == name)


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
    monkeypatch.setitem(inference_systems.SHAPES, "tiny", SMALL)
    assert benchmark.run(["--rows", "I8", "I7", "I6", "--rounds", "1", "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "benchmark_inference_tiny_cpu.json").read_text())
    assert [row["row"] for row in written["rows"]] == ["I6", "I7", "I8"]
    assert [row["network_calls"] for row in written["rows"]] == [1, 1, 0]
    assert max(written["facts"][name] for name in ("parity", "parity_tiny_autoencoder")) < 1e-3
    assert "| I6 | 1 frame, one step |" in capsys.readouterr().out


@pytest.mark.reference
def test_an_interrupted_run_keeps_its_rows(tmp_path, monkeypatch):
    monkeypatch.setitem(inference_systems.SHAPES, "tiny", SMALL)
    measured = benchmark.measure_row

    def stop(systems, row, *options):
        if row.name == "I6b":
            raise KeyboardInterrupt
        return measured(systems, row, *options)

    monkeypatch.setattr(benchmark, "measure_row", stop)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(["--rows", "I6", "I6b", "--rounds", "1", "--output", str(tmp_path)])
    written = json.loads((tmp_path / "benchmark_inference_tiny_cpu.json").read_text())
    assert [row["row"] for row in written["rows"]] == ["I6"]


def test_a_hundred_steps_are_warmed_up_by_ten(monkeypatch):
    """So that the first rows take seconds on a CPU: four timed runs a round, and one that is counted."""
    asked = []

    class Sides:
        tuned = False
        predictor = SimpleNamespace(resolution=8, model=SimpleNamespace(model=torch.nn.Linear(1, 1)))

        def ours(self, row, frames):
            asked.append(row.options.steps)

        theirs = ours

    calls = dict.fromkeys(("network", "encoder", "decoder", "text"), 1)
    monkeypatch.setattr(benchmark, "count_calls", lambda *_: calls)
    monkeypatch.setattr(benchmark, "measure_flop", lambda *_: 1.0)
    result = benchmark.measure_row(Sides(), row("I1"), 1, (1.0, 1.0), CPU)
    assert asked == [1, 10, 10, 100, 100, 100, 100] and isinstance(result, Result)


def test_a_cold_start_is_measured_in_turns(monkeypatch):
    """And a compiled one twice in the same cache: cold, then warm."""
    order = []
    monkeypatch.setattr(benchmark, "write_sides", lambda *_: None)
    monkeypatch.setattr(benchmark, "seconds_of_ours", lambda _, __, cache: order.append(cache and cache.name) or 2.0)
    monkeypatch.setattr(benchmark, "seconds_of_theirs", lambda *_: order.append("theirs") or 4.0)
    lines = list(benchmark.measure_cold_start(SMALL, Runtime(compile=True)))
    assert order == [None, "theirs", "theirs", None, "compiled", "compiled"]
    assert [line.row for line in lines] == ["I9", "I9c", "I9c"] and lines[0].ratio == 2.0


@pytest.mark.reference
def test_nothing_is_timed_without_parity(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(inference_systems.SHAPES, "tiny", SMALL)
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
