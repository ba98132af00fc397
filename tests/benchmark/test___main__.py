"""Laws of the benchmark command."""

import pytest

from benchmark import __main__ as benchmark
from benchmark import training as benchmark_training


def test_training_is_passed_on(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_training, "run", lambda argv: f"table of {argv}")
    assert benchmark.main(["training", "--rounds", "1"]) == 0
    assert capsys.readouterr().out == "table of ['--rounds', '1']\n"


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["x"], 2), (["--help"], 0)])
def test_the_usage_is_said(argv, code, capsys):
    assert benchmark.main(argv) == code
    assert "{training,inference,image_loss}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["inference", "--rows", "I10"], "--rows I10, --rounds"),
        (["training", "--rounds", "0"], "wanted at least one of each"),
    ],
)
def test_bad_input_is_one_sentence(argv, said, capsys):
    assert benchmark.main(argv) == 2
    assert said in capsys.readouterr().err


def test_an_absent_peer_is_named_and_a_fault_of_ours_keeps_its_traceback(monkeypatch, capsys):
    errors = iter([ModuleNotFoundError(name="diffusers"), ModuleNotFoundError(name="x"), KeyError("x")])

    def fail(argv):
        raise next(errors)

    monkeypatch.setattr(benchmark_training, "run", fail)
    assert benchmark.main(["training"]) == 2
    assert "diffusers is not installed" in capsys.readouterr().err
    for kind in (ModuleNotFoundError, KeyError):
        with pytest.raises(kind):
            benchmark.main(["training"])
