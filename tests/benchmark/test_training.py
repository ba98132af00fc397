"""Laws of the training benchmark."""

import json
from collections import Counter

import pytest
import torch

from benchmark import training as benchmark
from benchmark.training_data import Bench
from benchmark.training_rows import Line
from benchmark.training_steps import SIZES, Case

CPU = torch.device("cpu")


@pytest.fixture
def two_cases(monkeypatch):
    """Row T2 has two cases that multiply matrices; their order of calls is recorded."""
    order = []

    def case(name):
        a = torch.randn(32, 32)

        def step():
            order.append(name)
            return float((a @ a).sum())

        return Case(name, step, Counter({"U-Net": 1}), {"encode": step}, parameters=1000, pairs=16)

    monkeypatch.setattr(benchmark, "make_cases", lambda *_: ([case("a"), case("b")], ["a note"]))
    monkeypatch.setattr(benchmark, "measure_rates", lambda *_: (1e9, 1e9))
    return order


@pytest.fixture
def bench(tmp_path):
    return Bench(SIZES["tiny"], CPU, tmp_path)


def measure(bench, rounds, keep=lambda result: None):
    return benchmark.measure_training(bench, ["T2"], "fp32", rounds, 1, keep)["rows"]


def test_cases_alternate_after_a_warm_up(two_cases, bench):
    measure(bench, rounds=2)
    assert two_cases[:6] == ["a", "b", "a", "b", "b", "a"]


def test_the_floor_is_products_and_the_optimisers_traffic(two_cases, bench):
    """2 x 32^3 operations at 1e9 a second, 28 bytes x 1000 parameters at 1e9 bytes a second."""
    row = measure(bench, rounds=1)[0]
    assert row["floor_seconds"] == pytest.approx((2 * 32**3 + 28_000) / 1e9)
    assert row["times_floor"] == pytest.approx(row["seconds"] / row["floor_seconds"])
    assert row["samples_per_second"] == pytest.approx(16 / row["seconds"])


def test_an_interrupted_run_keeps_its_rounds(two_cases, tmp_path, monkeypatch):
    """Stopped in the second round: the file holds the first."""
    take, seconds_of = [], benchmark.seconds_of

    def stop(*options):
        take.append(1)
        if len(take) == 4:
            raise KeyboardInterrupt
        return seconds_of(*options)

    monkeypatch.setattr(benchmark, "seconds_of", stop)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(["--rows", "T2", "--rounds", "2", "--output", str(tmp_path)])
    kept = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert [(row["case"], row["rounds"]) for row in kept] == [("a", 1), ("b", 1)]
    assert "| a |" in (tmp_path / "training.md").read_text()


def test_the_table_and_its_files(two_cases, tmp_path):
    table = benchmark.run(["--rows", "T2", "--rounds", "1", "--output", str(tmp_path)])
    assert "| a |" in table and "a note" in table and "GFLOP/s" in table and "data | encode | U-Net" in table
    assert (tmp_path / "training.md").read_text() == table + "\n"
    assert {row["case"] for row in json.loads((tmp_path / "training.json").read_text())["rows"]} == {"a", "b"}


def test_other_rows_are_lines(two_cases, monkeypatch):
    line = Line("T7", "loader", 10.0, "samples/s", 2.0, "PIL")
    monkeypatch.setattr(benchmark.training_rows, "measure_loader", lambda *_: line)
    table = benchmark.run(["--rows", "T7", "--rounds", "1"])
    assert "| T7 | loader | 10 samples/s | - | PIL 2 samples/s | 5 |" in table


def test_every_row_is_in_the_help():
    said = benchmark.make_parser().format_help()
    assert all(f"{row}  " in said for row in benchmark.ROWS) and "--rows T2 T3" in said


@pytest.mark.parametrize(("argv", "message"), [(["--dtype", "fp16"], "give --dtype bf16"), (["--rounds", "0"], "one")])
def test_what_makes_no_sense_is_said(argv, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        benchmark.run(argv)


def test_the_median_is_of_the_rounds(monkeypatch):
    ticks = iter([0, 1, 1, 3, 3, 13])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(ticks))
    assert benchmark.median_seconds(lambda: None, CPU, 3) == (2, 9)
