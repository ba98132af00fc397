"""Laws of the training benchmark."""

import json
from collections import Counter

import pytest
import torch

from metrics import benchmark_training as benchmark
from metrics.training_cases import Case

CPU = torch.device("cpu")


@pytest.fixture
def two_cases(monkeypatch):
    """Two cases that multiply matrices; their order of calls is recorded."""
    order = []

    def case(name):
        a = torch.randn(32, 32)

        def step():
            order.append(name)
            return float((a @ a).sum())

        return Case(name, step, Counter({"U-Net": 1}), {"encode": step}, parameters=1000)

    monkeypatch.setattr(benchmark, "make_cases", lambda *_: ([case("a"), case("b")], ["a note"]))
    monkeypatch.setattr(benchmark, "measure_rates", lambda *_: (1e9, 1e9))
    return order


def test_cases_alternate(two_cases):
    benchmark.measure_training("tiny", CPU, rounds=2)
    assert two_cases[:8] == ["a", "a", "b", "b", "b", "b", "a", "a"], "each with its warm-up"


def test_the_floor_is_products_and_the_optimisers_traffic(two_cases):
    """2 x 32^3 operations at 1e9 a second, 28 bytes x 1000 parameters at 1e9 bytes a second."""
    row = benchmark.measure_training("tiny", CPU, rounds=1)["rows"][0]
    assert row["floor_seconds"] == pytest.approx((2 * 32**3 + 28_000) / 1e9)
    assert row["times_floor"] == pytest.approx(row["seconds"] / row["floor_seconds"])


def test_the_table_and_its_files(two_cases, tmp_path):
    table = benchmark.run(["--rounds", "1", "--output", str(tmp_path)])
    assert "| a |" in table and "a note" in table and "GFLOP/s" in table
    assert (tmp_path / "training.md").read_text() == table + "\n"
    assert {row["case"] for row in json.loads((tmp_path / "training.json").read_text())["rows"]} == {"a", "b"}


def test_the_median_is_of_the_rounds(monkeypatch):
    ticks = iter([0, 1, 1, 3, 3, 13])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(ticks))
    assert benchmark.median_seconds(lambda: None, CPU, 3) == (2, 9)
