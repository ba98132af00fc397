"""Laws of the training command, from a prepared folder to checkpoints."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import main as command
from formats.run_folder import RUN_VARIABLE
from ldm.training.config import compose

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def base(tmp_path, pair_folder, tiny_model_config) -> Path:
    """A complete config of a run of a few seconds."""
    folder = str(pair_folder())

    def node(split):
        params = {"folder": folder, "split": split, "resolution": 16}
        return {"target": "ldm.data.frame_pairs.FramePairDataset", "params": params}

    config = {
        "seed": 3,
        "resolution": 16,
        "horizon": 3,
        "pretrained": None,
        "model": tiny_model_config,
        "data": {
            "target": "ldm.data.base.DataModuleFromConfig",
            "params": {"batch_size": 2, "seed": 3, "num_workers": 0, "train": node("train"), "validation": node("val")},
        },
        "sampling": {"steps": 2, "text_scale": 1.0, "image_scale": 1.0},
        "lightning": {
            "trainer": {"accelerator": "cpu", "max_steps": 12, "max_epochs": -1, "log_every_n_steps": 1},
            "checkpoint": {"every_n_steps": 2, "monitor": "val/loss_simple_ema"},
            "loggers": ["csv"],
            "callbacks": {
                "image_logger": {
                    "target": "ldm.callbacks.image_logger.ImageLogger",
                    "params": {"every_n_steps": 6, "max_images": 2, "steps": 2, "text_scale": 1.0, "image_scale": 1.0},
                },
                "throughput": {"target": "ldm.callbacks.meters.Throughput", "params": {"every_n_steps": 5}},
            },
        },
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in this process; returns exit code and newest run folder."""

    def call(*argv):
        monkeypatch.delenv(RUN_VARIABLE, raising=False)
        code = command.main([*map(str, argv), "--logdir", str(tmp_path / "logs")])
        folders = sorted((tmp_path / "logs").glob("*"), key=lambda path: path.stat().st_mtime)
        return code, folders[-1] if folders else None

    return call


def weights(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different


def test_a_run_leaves_a_whole_run_folder(run, base):
    code, folder = run("--base", base, "-n", "name", "-p", "_postfix", "--max_steps", "6")
    assert code == 0
    assert folder.name.endswith("_name_postfix")
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert (folder / "images" / "train" / "step-000006.png").is_file()
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    losses = [float(row["train/loss"]) for row in rows if row.get("train/loss")]
    assert len(losses) == 6
    assert any(row.get("val/loss_simple_ema") for row in rows)
    assert not list(folder.rglob("*.partial*"))


def test_the_saved_config_runs_again_to_the_same_weights(run, base):
    _, first = run("--base", base, "model.params.learning_rate=0.002", "-n", "first", "--max_steps", "3")
    _, second = run("--base", first / "config.yaml", "-n", "second")
    assert yaml.safe_load((second / "config.yaml").read_text())["model"]["params"]["learning_rate"] == 0.002
    assert_same_weights(weights(first), weights(second))


def test_a_saved_config_keeps_what_refers_to_the_resolution(run, base):
    """Over it `resolution=8` changes the training pairs too, as over the recipe."""
    config = yaml.safe_load(base.read_text())
    for split in ("train", "validation"):
        config["data"]["params"][split]["params"]["resolution"] = "${resolution}"
    base.write_text(yaml.safe_dump(config))
    _, first = run("--base", base, "-n", "first", "--max_steps", "1")
    _, second = run("--base", first / "config.yaml", "resolution=8", "-n", "second", "--max_steps", "1")
    assert compose([second / "config.yaml"])["data"]["params"]["train"]["params"]["resolution"] == 8


def test_flags_that_a_resumed_run_cannot_follow_are_refused(run, base, tmp_path, capsys):
    _, folder = run("--base", base, "--max_steps", "1")
    assert run("--resume", folder, "--folder", tmp_path / "elsewhere")[0] == 2
    assert f"a resumed run stays in {folder}" in capsys.readouterr().err
    assert run("--resume", folder, "--cache-latents", tmp_path / "cache")[0] == 2
    assert "goes on with the pairs that it began with" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "cache").exists()


def test_resuming_goes_on_exactly(run, base):
    """Stopped at step 5, in the middle of an epoch, and taken up: the weights of the uninterrupted run."""
    _, whole = run("--base", base, "-n", "whole")
    _, part = run("--base", base, "-n", "part", "--max_steps", "5")
    code, resumed = run("--resume", part, "--max_steps", "12")
    assert code == 0 and resumed == part
    assert (part / "metrics-000.csv").is_file(), "the first part's metrics are kept"
    assert_same_weights(weights(whole), weights(part))


@pytest.mark.parametrize("step", [1, 4])
def test_an_exception_leaves_the_last_finished_step(run, base, monkeypatch, step):
    """An error inside a step, accumulating: last.ckpt is as the step before left it, and resuming repeats exactly."""
    flags = ("--accumulate_grad_batches", "2", "--max_steps", "6")
    _, whole = run("--base", base, "-n", "whole", *flags)
    from ldm.models.diffusion_training import TrainedLatentDiffusion

    original = TrainedLatentDiffusion.training_step

    def failing(self, batch, batch_idx):
        if self.trainer.global_step == step and self.trainer.fit_loop.epoch_loop.batch_idx % 2 == 1:
            raise RuntimeError("planted")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(TrainedLatentDiffusion, "training_step", failing)
        with pytest.raises(RuntimeError, match="planted"):
            run("--base", base, "-n", "part", *flags)
    part = next(whole.parent.glob("*_part"))
    assert torch.load(part / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step
    run("--resume", part)
    assert_same_weights(weights(whole), weights(part))


def start(base: Path, logdir: Path, *flags: str) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k != RUN_VARIABLE} | {"OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "main.py", "--base", str(base), "-n", "killed", "-l", str(logdir), *flags]
    return subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(pattern: str, folder: Path, process: subprocess.Popen, seconds: float = 300) -> Path:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if found := list(folder.glob(pattern)):
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"{pattern} did not appear: {process.communicate()[1]}")


def test_a_killed_run_resumes_to_the_weights_of_the_uninterrupted_one(run, base, tmp_path):
    """kill -TERM saves at the end of the step; after kill -9 the last periodic checkpoint is taken up."""
    steps = ("--max_steps", "48")
    _, whole = run("--base", base, "-n", "whole", *steps)
    for number in (signal.SIGTERM, signal.SIGKILL):
        logdir = tmp_path / number.name
        process = start(base, logdir, *steps)
        last = wait_for("*/checkpoints/last.ckpt", logdir, process)
        time.sleep(0.3 * torch.rand(()).item())
        process.send_signal(number)
        message = process.communicate(timeout=300)[1]
        stopped = torch.load(last, weights_only=True)["global_step"]
        assert 0 < stopped < 48
        if number == signal.SIGTERM:
            assert process.returncode == 130 and f"stopped by SIGTERM after step {stopped}" in message
            assert "Traceback" not in message
        run("--resume", last.parents[1])
        assert_same_weights(weights(whole), weights(last.parents[1]))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--gpus", "0,1"], "--gpus 0,1: this machine has no CUDA GPUs"),
        (["model.params.unet_config.params.num_head=3"], "has no parameter 'num_head'; did you mean 'num_heads'"),
        (["data.params.train.params.folder=/nowhere"], "no folder /nowhere"),
        (["data.params.train.params.resolution=15"], "resolution 15: wanted a multiple of 4"),
        (["--resume", "/nowhere"], "no such run folder"),
        (["lightning.loggers=[mlflow]"], "'mlflow' is not one of csv, wandb"),
        (["data.params.batch_size=[1"], "'[1' is not valid YAML"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(run, base, capsys, argv, message):
    code, _ = run("--base", base, *argv)
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err and "Traceback" not in captured.err


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="this machine has the GPUs that the test says are missing")
@pytest.mark.parametrize(("text", "devices"), [("0", [0]), ("0,", [0]), ("0,1", [0, 1]), ("1", [1])])
def test_gpus_are_indices(text, devices):
    assert command.make_parser().parse_args(["--gpus", text]).gpus == tuple(devices)


def test_an_unknown_flag_is_an_error_and_never_an_override(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--base", "configs/train.yaml", "--max_epoch", "3"])
    assert stop.value.code == 2
    assert "--max_epoch" in capsys.readouterr().err


def test_a_trainer_flag_is_read_as_in_a_file(capsys):
    parse = command.make_parser().parse_args
    assert vars(parse(["--gradient_clip_val", "1e-4"]))["trainer.gradient_clip_val"] == 1e-4
    with pytest.raises(SystemExit):
        parse(["--devices", "[1"])
    assert "'[1' is not valid YAML" in capsys.readouterr().err


def test_an_empty_data_folder_is_said_with_the_command(run, base, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    code, _ = run("--base", base, f"data.params.train.params.folder={tmp_path / 'empty'}")
    assert code == 2
    assert "python -m dataset_tools.prepare_dataset" in capsys.readouterr().err


def test_no_config_is_said(run, capsys):
    assert run()[0] == 2
    assert "--base configs/train.yaml" in capsys.readouterr().err


def test_the_dry_run_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("ldm.training.dry_run.estimate_memory", lambda *_: {})  # seconds, and tested elsewhere
    assert command.main(["--base", str(ROOT / "configs" / "train.yaml"), "--gpus", "0,1", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "859.53 M" in printed and "2 x 8 accumulated x 2 device(s) = 32" in printed
    assert "Missing to train" in printed and "dataset_tools.prepare_dataset" in printed


def test_scale_lr_multiplies_by_the_global_batch(run, base, caplog):
    with caplog.at_level("INFO"):
        run("--base", base, "--scale_lr", "--max_steps", "1", "--accumulate_grad_batches", "2")
    assert "0.001 x global batch 4 = 0.004" in caplog.text


def test_a_full_disk_leaves_no_half_checkpoint(run, base, monkeypatch, capsys):
    import errno

    def full(value, path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", full)
    code, folder = run("--base", base)
    assert code == 2 and "disk is full" in capsys.readouterr().err
    assert not list((folder / "checkpoints").glob("*"))


def test_a_folder_that_holds_a_run_is_not_written_over(run, base, tmp_path, capsys):
    folder = tmp_path / "exact"
    assert run("--base", base, "--folder", folder, "--max_steps", "1")[0] == 0
    assert run("--base", base, "--folder", folder)[0] == 2
    assert f"--resume {folder}" in capsys.readouterr().err


def test_an_early_folder_without_a_checkpoint_is_taken(run, base, tmp_path):
    """A job that died before it saved anything starts again under the same name."""
    (tmp_path / "exact" / "checkpoints").mkdir(parents=True)
    assert run("--base", base, "--folder", tmp_path / "exact", "--max_steps", "1")[0] == 0


def test_early_stopping_ends_a_run_whose_validation_loss_stands_still(run, base):
    config = yaml.safe_load(base.read_text())
    node = {"monitor": "val/loss_simple", "patience": 2}
    node = {"target": "pytorch_lightning.callbacks.EarlyStopping", "params": node}
    config["lightning"]["callbacks"] = {"early_stopping": node}
    base.write_text(yaml.safe_dump(config))
    flags = ["--val_check_interval", "2", "--num_sanity_val_steps", "0", "model.params.learning_rate=0.0"]
    code, folder = run("--base", base, *flags)
    assert code == 0
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 7, "of 5 steps a pass"


def test_a_loss_that_is_not_finite_names_the_pairs_and_saves_no_broken_weights(run, base, capsys):
    code, folder = run("--base", base, "model.params.learning_rate=1.0e+30", "lightning.checkpoint.every_n_steps=100")
    assert code == 2
    said = capsys.readouterr().err
    assert "the loss is nan on the pairs square/" in said or "the loss is inf on the pairs square/" in said
    assert not (folder / "checkpoints" / "last.ckpt").exists(), "weights that gave no finite loss are of no use"


def test_no_memory_is_said_with_three_settings(run, base, monkeypatch, capsys):
    from ldm.models.diffusion_training import TrainedLatentDiffusion

    def full(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainedLatentDiffusion, "training_step", full)
    assert run("--base", base)[0] == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("batch_size", "use_checkpoint=true", "resolution")) and "Traceback" not in said


def test_a_callback_that_fails_after_the_update_does_not_repeat_it(run, base, monkeypatch):
    """Weights, counters and data position of one and the same step are saved."""
    from ldm.callbacks.meters import Throughput

    _, whole = run("--base", base, "-n", "whole", "--max_steps", "6")

    def failing(self, trainer, *_):
        if trainer.global_step == 3:
            raise RuntimeError("planted")

    with monkeypatch.context() as patched:
        patched.setattr(Throughput, "on_train_batch_end", failing)
        with pytest.raises(RuntimeError, match="planted"):
            run("--base", base, "-n", "part", "--max_steps", "6")
    part = next(whole.parent.glob("*_part"))
    assert torch.load(part / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3
    run("--resume", part)
    assert_same_weights(weights(whole), weights(part))


def read_test_loss(folder: Path) -> str:
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    return [row["val/loss_simple_ema"] for row in rows if row.get("val/loss_simple_ema")][-1]


def test_a_saved_run_is_tested_with_its_own_weights(run, base):
    """--resume --train false: the loss that the run itself had at its end."""
    config = yaml.safe_load(base.read_text())
    params = config["data"]["params"]
    params["test"] = params["validation"]
    base.write_text(yaml.safe_dump(config))
    _, folder = run("--base", base, "--max_steps", "3")
    expected = read_test_loss(folder)
    assert run("--resume", folder, "--train", "false")[0] == 0
    assert (folder / "metrics-000.csv").is_file() and read_test_loss(folder) == expected


def test_gradients_are_clipped_in_mixed_precision_and_no_logger_is_needed(run, base):
    flags = ["--precision", "bf16-mixed", "--gradient_clip_val", "1.0", "--max_steps", "1"]
    assert run("--base", base, "lightning.loggers=[]", *flags)[0] == 0


def test_a_resume_with_another_seed_is_refused(run, base, capsys):
    _, folder = run("--base", base, "--max_steps", "2")
    assert run("--resume", folder, "--seed", "5", "--max_steps", "3")[0] == 2
    assert "Resume with the same seed" in capsys.readouterr().err


HELP = """
import sys, main
try:
    main.main(["--help"])
except SystemExit:
    print(sorted({"torch", "omegaconf", "numpy"} & sys.modules.keys()))
"""


def test_help_imports_nothing_heavy():
    said = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--cache-latents" in said and said.endswith("[]\n")


def test_no_monitor_no_third_checkpoint(run, base):
    """Lightning would write its own where it finds none of ours."""
    _, folder = run("--base", base, "--max_steps", "4", "lightning.checkpoint.monitor=null")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_epochs_that_are_asked_for_are_kept(run, base):
    _, folder = run("--base", base, "--max_epochs", "2", "lightning.checkpoint.keep_epochs=[1]")
    assert (folder / "checkpoints" / "epoch-1.ckpt").is_file() and not (
        folder / "checkpoints" / "epoch-2.ckpt"
    ).exists()


def test_a_run_stores_the_horizon_of_its_pairs(run, base):
    _, folder = run("--base", base, "--max_steps", "1", "horizon=50")
    config = compose([folder / "config.yaml"])
    assert (config["horizon"], config["horizon_range"]) == (3, None)


def test_a_resumed_runs_config_names_our_classes_only(run, base, capsys):
    """A run folder may come from anybody; a callback there would be any code."""
    _, folder = run("--base", base, "--max_steps", "1")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    payload = {"target": "subprocess.getoutput", "params": {"cmd": f"touch {folder}/harm"}}
    config["lightning"]["callbacks"]["harm"] = payload
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("--resume", folder, "--max_steps", "2")[0] == 2
    assert "names 'subprocess.getoutput', which is no class of this project" in capsys.readouterr().err
    assert not (folder / "harm").exists()
