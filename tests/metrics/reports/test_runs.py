import pytest

from metrics.compute_metrics import main as compute_metrics
from metrics.reports.run_facts import find_fact
from metrics.reports.runs import read_run, read_runs
from tests.metrics.conftest import moving_square


def test_everything_a_run_says_is_read(run_folder):
    run = read_run(f"ours={run_folder}")
    assert run.label == "ours" and read_run(str(run_folder)).label == "2026_run"
    assert [results.name for results in run.results] == ["metrics/epoch=10", "metrics/epoch=2"]
    assert run.results[0].systems == ["model"]
    assert len(run.results[0].entries("model")) == 6 and run.results[0].entries("absent") == []
    assert len(run.results[0].pairs) == 12
    assert run.facts["steps"] == 190 and run.benchmark["parameters"] == "1.2M"
    assert [results.name for results in read_run(str(run_folder / "metrics" / "epoch=2")).results] == ["."]


def test_curves_leave_out_the_empty_cells(run_folder):
    curves = read_run(str(run_folder)).curves
    assert len(curves["train/loss_simple"].values) == 20
    assert curves["val/loss_simple"].steps == tuple(range(0, 200, 20))
    assert "lr" not in curves


def test_bad_runs_are_named(tmp_path, run_folder):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        read_run(str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="nothing to show"):
        read_run(str(tmp_path))
    for content in ("{", "{}"):
        (tmp_path / "table.json").write_text(content)
        with pytest.raises(ValueError, match="table.json is not as it should be"):
            read_run(str(tmp_path))
    with pytest.raises(ValueError, match="two runs are called 'a'"):
        read_runs([f"a={run_folder}", f"a={run_folder}"])


def test_what_edit_cli_measured_reaches_the_run_through_the_table(pair_folder, predict, tmp_path):
    """A benchmark.json of the run's own comes before it."""
    data = pair_folder()
    predictions = predict(data, lambda pair: moving_square(7))
    (predictions / "benchmark.json").write_text('{"parameters": "3.2M", "seconds_15_frames": 1.5}')
    arguments = ["--data", data, "--predictions", predictions, "--output", tmp_path / "run" / "metrics"]
    assert compute_metrics([str(argument) for argument in arguments]) == 0
    assert find_fact(read_run(str(tmp_path / "run")), "{benchmark.seconds_15_frames}") == "1.5"
    (tmp_path / "run" / "benchmark.json").write_text('{"seconds_15_frames": 2.5}')
    assert find_fact(read_run(str(tmp_path / "run")), "{benchmark.seconds_15_frames}") == "2.5"


def test_parts_of_a_resumed_run_make_one_curve(tmp_path):
    """Steps 20 and 30 were trained again after the resume."""
    (tmp_path / "metrics-000.csv").write_text("step,train/loss\n10,3\n20,9\n30,9\n")
    (tmp_path / "metrics.csv").write_text("step,train/loss\n20,2\n30,1\n")
    curve = read_run(str(tmp_path)).curves["train/loss"]
    assert curve.steps == (10, 20, 30) and curve.values == (3, 2, 1)


def test_a_runs_own_table_comes_before_those_of_its_parts(tmp_path):
    for folder in ("metrics/epoch-10", "metrics"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "table.json").write_text('{"lines": []}')
    assert [results.name for results in read_run(str(tmp_path)).results] == ["metrics", "metrics/epoch-10"]
