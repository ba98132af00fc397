"""Laws of the benchmark command."""

import pytest

from benchmark import __main__ as benchmark
from benchmark import gpu_check, inference, training


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["x"], 2), (["--help"], 0)])
def test_the_usage_is_said_with_every_command_and_row(argv, code, capsys):
    assert benchmark.main(argv) == code
    said = capsys.readouterr().err
    assert all(name in said and benchmark.find_command(name).__name__ == "main" for name in benchmark.NAMES)
    for module in (training, inference):
        rows = [row for row in module.ROWS if row[-1].isdigit()]
        assert all(f"{row}  " in module.make_parser().format_help() for row in rows)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["inference", "--rows", "I10"], "--rows I10, --rounds"),
        (["training", "--rounds", "0"], "wanted at least one of each"),
        (["training", "--dtype", "fp16"], "give --dtype bf16"),
        (["cold_start", "--rounds", "0"], "--rounds 0: wanted at least 1"),
        (["preparation", "--episodes", "/absent"], "no folder /absent"),
        (["image_loss", "--pairs", "0"], "--pairs 0: wanted at least 1"),
        (
            ["image_loss", "--ckpt", "none.safetensors"],
            "no config.yaml beside none.safetensors; name one with --config",
        ),
        (["image_loss", "--config", "none.yaml"], "there is no config file none.yaml"),
        (["gpu_check"], "--size tiny"),
    ],
)
def test_bad_input_is_one_sentence(argv, said, capsys, monkeypatch):
    for module in (inference, training, gpu_check):
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
