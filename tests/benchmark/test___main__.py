"""Laws of the benchmark command."""

import pytest

from benchmark import __main__ as benchmark
from benchmark import inference, training
from benchmark.request import make_parser


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["x"], 2), (["--help"], 0)])
def test_the_usage_is_said(argv, code, capsys):
    assert benchmark.main(argv) == code
    said = capsys.readouterr().err
    assert all(name in said and benchmark.find_command(name).__name__ == "main" for name in benchmark.NAMES)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["inference", "--rows", "I10"], "--rows I10: wanted I1 or I2"),
        (["training", "--rounds", "0"], "--rounds 0: wanted at least 1"),
        (["image_loss", "--pairs", "0"], "--pairs 0: wanted at least 1"),
        (["image_loss", "--ckpt", "none.safetensors"], "beside none.safetensors; name one with --config"),
        (["image_loss", "--config", "none.yaml"], "there is no config file none.yaml"),
        (["gpu_check"], "--size tiny"),
        (["training", "--dtype", "fp16"], "give --dtype bf16"),
        (["preparation", "--episodes", "/absent"], "no folder /absent"),
        (["cold_start", "--rounds", "0"], "--rounds 0: wanted at least 1"),
    ],
)
def test_bad_input_is_one_sentence(argv, said, capsys):
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


def test_rows_and_the_devices_defaults_are_in_the_help_and_taken():
    for module, kind in ((training, training.TrainingRequest), (inference, inference.InferenceRequest)):
        said = make_parser(kind, "x", module.__doc__).format_help()
        assert all(f"{row}  " in said for row in module.NAMES if row[-1].isdigit())
        assert "default: 5 on cuda" in said and "{fp32,bf16,fp16}" in said
    made = training.TrainingRequest(rounds=7)
    assert (made.size, made.rounds, made.steps, made.rows) == ("tiny", 7, 1, training.NAMES)
