"""Laws of the benchmark command."""

import pytest

from benchmark import __main__ as benchmark
from benchmark import cold_start, inference, training


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["x"], 2), (["--help"], 0)])
def test_the_usage_is_said(argv, code, capsys):
    assert benchmark.main(argv) == code
    said = capsys.readouterr().err
    assert all(name in said and benchmark.find_command(name).__name__ == "main" for name in benchmark.NAMES)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["inference", "--rows", "I10"], "--rows I10, --rounds"),
        (["training", "--rounds", "0"], "wanted at least one of each"),
        (["training", "--dtype", "fp16"], "give --dtype bf16"),
        (["cold_start", "--rounds", "0"], "--rounds 0: wanted at least 1"),
    ],
)
def test_bad_input_is_one_sentence(argv, said, capsys, monkeypatch):
    for module in (inference, training):
        monkeypatch.setattr(module, "own_device", lambda: training.torch.device("cpu"))
    assert benchmark.main(argv) == 2
    assert said in capsys.readouterr().err


def test_an_absent_peer_is_named_and_a_fault_of_ours_keeps_its_traceback(monkeypatch, capsys):
    errors = iter([ModuleNotFoundError(name="diffusers"), ModuleNotFoundError(name="x"), KeyError("x")])

    def fail(argv):
        raise next(errors)

    monkeypatch.setattr(training, "main", fail)
    assert benchmark.main(["training"]) == 2
    assert "diffusers is not installed" in capsys.readouterr().err
    for kind in (ModuleNotFoundError, KeyError):
        with pytest.raises(kind):
            benchmark.main(["training"])


def test_every_row_is_in_the_help():
    for module in (training, inference):
        said = module.make_parser().format_help()
        assert all(f"{row}  " in said for row in module.ROWS if row[-1].isdigit())
    assert cold_start.HEAVY
