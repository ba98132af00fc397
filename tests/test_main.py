"""Laws of the training command, from a prepared folder to checkpoints."""

import csv
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

import main as command
from formats.run_folder import RUN_VARIABLE
from ldm.callbacks.meters import Throughput
from ldm.models.diffusion_training import TrainedLatentDiffusion
from ldm.training.config import compose
from tests.runs import ROOT, assert_same_weights, launch, read_last, wait_until


@pytest.fixture
def base(tmp_path, pair_folder, tiny_model_config) -> Path:
    """A complete config of a run of a few seconds."""
    folder = str(pair_folder())

    def node(split):
        params = {"folder": folder, "split": split, "resolution": "${resolution}"}
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
    saved = yaml.safe_load((second / "config.yaml").read_text())
    assert saved["model"]["params"]["learning_rate"] == 0.002
    assert saved["data"]["params"]["train"]["params"]["resolution"] == "${resolution}", "`resolution=8` reaches it"
    assert_same_weights(first, second)


def test_settings_that_show_in_a_run_only(run, base, caplog):
    """No logger, no monitored checkpoint, a kept epoch, bfloat16 with clipping, --scale_lr, the pairs' horizon."""
    flags = ["--precision", "bf16-mixed", "--gradient_clip_val", "1.0", "--accumulate_grad_batches", "2", "--scale_lr"]
    checkpoints = ["lightning.checkpoint.monitor=null", "lightning.checkpoint.keep_epochs=[1]", "--max_epochs", "2"]
    with caplog.at_level("INFO"):
        code, folder = run("--base", base, "horizon=50", "lightning.loggers=[]", *checkpoints, *flags)
    assert code == 0 and "0.001 x global batch 4 = 0.004" in caplog.text
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "epoch-1.ckpt"}
    config = compose([folder / "config.yaml"])
    assert (config["horizon"], config["horizon_range"]) == (3, None), "of its pairs"


def test_what_a_resumed_run_cannot_follow_is_refused(run, base, tmp_path, capsys):
    """Other flags, another seed, and a callback that a run folder from anybody may name."""
    _, folder = run("--base", base, "--max_steps", "1")
    config = yaml.safe_load((folder / "config.yaml").read_text())

    def refuse(flags, said):
        assert run("--resume", folder, *flags)[0] == 2
        assert said in capsys.readouterr().err

    refuse(["--folder", tmp_path / "elsewhere"], f"a resumed run stays in {folder}")
    refuse(["--cache-latents", tmp_path / "cache"], "goes on with the pairs that it began with")
    refuse(["--seed", "5", "--max_steps", "2"], "Resume with the same seed")
    harm = {"target": "subprocess.getoutput", "params": {"cmd": f"touch {folder}/harm"}}
    config["lightning"]["callbacks"]["harm"] = harm
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    refuse(["--max_steps", "2"], "names 'subprocess.getoutput', which is no class of this project")
    assert not any(path.exists() for path in (tmp_path / "elsewhere", tmp_path / "cache", folder / "harm"))


def test_resuming_goes_on_exactly(run, base):
    """Stopped at step 5, in the middle of an epoch, and taken up: the weights of the uninterrupted run."""
    _, whole = run("--base", base, "-n", "whole")
    _, part = run("--base", base, "-n", "part", "--max_steps", "5")
    code, resumed = run("--resume", part, "--max_steps", "12")
    assert code == 0 and resumed == part
    assert (part / "metrics-000.csv").is_file(), "the first part's metrics are kept"
    assert_same_weights(whole, part)


def inside(step):
    """A failure in the second micro-batch of the step."""

    def fails(model, *_):
        return model.trainer.global_step == step and model.trainer.fit_loop.epoch_loop.batch_idx % 2 == 1

    return TrainedLatentDiffusion, "training_step", fails


def after(step):
    """A callback's failure, once weights and counters have moved: the update is not repeated."""
    return Throughput, "on_train_batch_end", lambda _, trainer, *__: trainer.global_step == step


@pytest.mark.parametrize(("failure", "step"), [(inside(1), 1), (inside(4), 4), (after(3), 3)])
def test_an_exception_leaves_the_last_finished_step(run, base, monkeypatch, failure, step):
    """Accumulating: last.ckpt is as the last whole step left it, and resuming repeats exactly."""
    flags = ("--accumulate_grad_batches", "2", "--max_steps", "6")
    _, whole = run("--base", base, "-n", "whole", *flags)
    owner, method, fails = failure
    original = getattr(owner, method)

    def failing(self, *given):
        if fails(self, *given):
            raise RuntimeError("planted")
        return original(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(owner, method, failing)
        with pytest.raises(RuntimeError, match="planted"):
            run("--base", base, "-n", "part", *flags)
    part = next(whole.parent.glob("*_part"))
    assert read_last(part)["global_step"] == step
    run("--resume", part)
    assert_same_weights(whole, part)


def test_a_killed_run_resumes_to_the_weights_of_the_uninterrupted_one(run, base, tmp_path):
    """SIGTERM to the whole process group saves at the end of the step; after SIGKILL the last checkpoint is taken up.

    A scheduler signals the loader's processes, too: they leave it to the run.
    """
    steps = ("--max_steps", "48")
    _, whole = run("--base", base, "-n", "whole", *steps)
    for number in (signal.SIGTERM, signal.SIGKILL):
        logdir = tmp_path / number.name
        loaders = f"data.params.num_workers={int(number == signal.SIGTERM)}"
        process = launch(["--base", str(base), loaders, "-n", "killed", "-l", str(logdir), *steps], process_group=0)
        wait_until(lambda logdir=logdir: any(logdir.glob("*/checkpoints/last.ckpt")), process)
        time.sleep(0.3 * torch.rand(()).item())
        os.killpg(process.pid, number)
        message = process.communicate(timeout=300)[1]
        (part,) = logdir.iterdir()
        stopped = read_last(part)["global_step"]
        assert 0 < stopped < 48
        if number == signal.SIGTERM:
            assert process.returncode == 130 and f"stopped by SIGTERM after step {stopped}" in message
            assert "Traceback" not in message
        run("--resume", part)
        assert_same_weights(whole, part)


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
        ([f"data.params.train.params.folder={ROOT / 'tests'}"], "python -m dataset_tools.prepare_dataset"),
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


def test_no_config_and_unknown_flags_are_said(run, capsys):
    """A flag is never taken for an override."""
    assert run()[0] == 2
    assert "--base configs/train.yaml" in capsys.readouterr().err
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


def test_the_dry_run_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("ldm.training.dry_run.estimate_memory", lambda *_: {})  # seconds, and tested elsewhere
    assert command.main(["--base", str(ROOT / "configs" / "train.yaml"), "--gpus", "0,1", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "859.53 M" in printed and "2 x 8 accumulated x 2 device(s) = 32" in printed
    assert "Missing to train" in printed and "dataset_tools.prepare_dataset" in printed


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
    """But that of a job that died before it saved anything is taken."""
    folder = tmp_path / "exact"
    (folder / "checkpoints").mkdir(parents=True)
    assert run("--base", base, "--folder", folder, "--max_steps", "1")[0] == 0
    assert run("--base", base, "--folder", folder)[0] == 2
    assert f"--resume {folder}" in capsys.readouterr().err


def test_early_stopping_ends_a_run_whose_validation_loss_stands_still(run, base):
    config = yaml.safe_load(base.read_text())
    node = {"monitor": "val/loss_simple", "patience": 2}
    node = {"target": "pytorch_lightning.callbacks.EarlyStopping", "params": node}
    config["lightning"]["callbacks"] = {"early_stopping": node}
    base.write_text(yaml.safe_dump(config))
    flags = ["--val_check_interval", "2", "--num_sanity_val_steps", "0", "model.params.learning_rate=0.0"]
    code, folder = run("--base", base, *flags)
    assert code == 0
    assert read_last(folder)["global_step"] == 7, "of 5 steps a pass"


def test_a_loss_that_is_not_finite_names_the_pairs_and_saves_no_broken_weights(run, base, capsys):
    code, folder = run("--base", base, "model.params.learning_rate=1.0e+30", "lightning.checkpoint.every_n_steps=100")
    assert code == 2
    said = capsys.readouterr().err
    assert "the loss is nan on the pairs square/" in said or "the loss is inf on the pairs square/" in said
    assert not (folder / "checkpoints" / "last.ckpt").exists(), "weights that gave no finite loss are of no use"


def test_no_memory_is_said_with_three_settings(run, base, monkeypatch, capsys):
    def full(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainedLatentDiffusion, "training_step", full)
    assert run("--base", base)[0] == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("batch_size", "use_checkpoint=true", "resolution")) and "Traceback" not in said


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
