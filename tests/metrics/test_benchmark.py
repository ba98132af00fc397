"""Laws of the benchmark command."""

import pytest

from metrics import benchmark, benchmark_training


def test_training_is_passed_on(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_training, "run", lambda argv: f"table of {argv}")
    assert benchmark.main(["training", "--rounds", "1"]) == 0
    assert capsys.readouterr().out == "table of ['--rounds', '1']\n"


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["x"], 2), (["--help"], 0)])
def test_the_usage_is_said(argv, code, capsys):
    assert benchmark.main(argv) == code
    assert "{training,inference,image_loss}" in capsys.readouterr().err
