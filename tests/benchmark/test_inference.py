"""Laws of the prediction benchmark: parity before speed, turns, rows that an interruption keeps."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmark import __main__ as command
from benchmark import inference as benchmark
from benchmark.inference import InferenceRequest, make_works
from prediction.predictor import Runtime

CPU = torch.device("cpu")
WORKS = {work.row: work for work in make_works(2)}


def request(**options):
    return InferenceRequest(**{"rounds": 1} | options)


class Side:
    """A side that notes how many steps it is asked for."""

    predictor = SimpleNamespace(resolution=8)
    model = SimpleNamespace(model=torch.nn.Linear(1, 1))
    pipe = SimpleNamespace(device=CPU)

    def __init__(self, asked):
        self.asked = asked

    def predict(self, work, frames):
        self.asked.append(work.steps)


@pytest.fixture
def sides(monkeypatch):
    asked = []
    made = benchmark.Sides(Side(asked), Side(asked), 1e-6)
    monkeypatch.setattr(benchmark, "calls_of", lambda *_: dict.fromkeys(benchmark.PARTS, 1))
    monkeypatch.setattr(benchmark, "measure_flop", lambda *_: 1.0)
    monkeypatch.setattr(benchmark, "measure_rates", lambda *_: (1e12, 1e9))
    monkeypatch.setattr(benchmark, "checked_sides", lambda *_, **__: made)
    return made


def test_a_hundred_steps_are_warmed_up_by_ten(sides):
    """So that the first rows take seconds on a CPU: four timed runs a round, and one that is counted."""
    row = benchmark.measure_work(sides, WORKS["I1"], request(), (1.0, 1.0))
    assert sides.ours.asked == [1, 10, 10, 100, 100, 100, 100]
    assert row.counted["network calls"] == 1 and row.floor == 8.0  # two weights of four bytes at a byte a second


def test_an_interrupted_run_keeps_its_rows(sides, tmp_path, monkeypatch):
    measured = benchmark.measure_work

    def stop(sides, work, *options):
        if work.row == "I6b":
            raise KeyboardInterrupt
        return measured(sides, work, *options)

    monkeypatch.setattr(benchmark, "measure_work", stop)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(request(rows=("I6", "I6b"), output=tmp_path))
    written = json.loads((tmp_path / "benchmark_inference_tiny_cpu.json").read_text())
    assert [(row["row"], row["value"] > 0) for row in written["rows"]] == [("parity", True), ("I6", True)]
    assert {"GFLOP", "peak MiB", "network calls"} <= written["rows"][1]["counted"].keys()
    assert "| I6 | 1 frame, one step |" in (tmp_path / "benchmark_inference_tiny_cpu.md").read_text()


def test_a_cold_start_is_measured_in_turns(monkeypatch):
    """And a compiled one twice in the same cache: cold, then warm."""
    order = []
    monkeypatch.setattr(benchmark, "write_sides", lambda *_: None)
    monkeypatch.setattr(benchmark, "seconds_of_ours", lambda _, __, cache: order.append(cache and cache.name) or 2.0)
    monkeypatch.setattr(benchmark, "seconds_of_theirs", lambda *_: order.append("theirs") or 4.0)
    rows = list(benchmark.measure_cold_start("tiny", Runtime(compile=True)))
    assert order == [None, "theirs", "theirs", None, "compiled", "compiled"]
    assert [row.row for row in rows] == ["I9", "I9c", "I9c"] and (rows[0].value, rows[0].peer) == (2.0, 4.0)


def test_nothing_is_timed_without_parity(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "make_sides", lambda *_, **__: (Side([]), Side([])))
    monkeypatch.setattr(benchmark, "measure_parity", lambda *_: float("nan"))
    assert command.main(["inference", "--rows", "I6", "--output", str(tmp_path)]) == 1
    assert "no row is measured" in capsys.readouterr().err and not list(tmp_path.iterdir())
