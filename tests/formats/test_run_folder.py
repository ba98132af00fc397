"""Laws of run folders."""

import os
import subprocess
import sys

import pytest
import torch

from commands.errors import UserError
from formats.run_folder import (
    RUN_VARIABLE,
    RunFolder,
    find_run,
    locked,
    new_run,
    refused_resume_undone,
    set_aside_metrics,
)


def test_all_processes_of_a_run_share_one_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    run = new_run(tmp_path, "train", "_x")
    assert run.path.name.endswith("_train_x")
    assert new_run(tmp_path, "other") == run, "a child process reads the name from its environment"


def test_resume_takes_the_newest_last_checkpoint(tmp_path):
    """Lightning leaves last-v1.ckpt beside an older last.ckpt."""
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    for age, name in ((100, "last.ckpt"), (10, "last-v1.ckpt"), (50, "last-v2.ckpt"), (1, "best.ckpt")):
        path = run.checkpoints / name
        torch.save({}, path)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    assert find_run(run.path) == (run, run.checkpoints / "last-v1.ckpt")
    assert find_run(run.checkpoints / "best.ckpt")[1].name == "best.ckpt"
    assert find_run(run.checkpoints / "best.ckpt")[0].path == run.path


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of an epoch, of some time ago and of last."""
    made = RunFolder(tmp_path / "run")
    made.checkpoints.mkdir(parents=True)
    for name in ("epoch-2.ckpt", "previous.ckpt", "last.ckpt"):
        torch.save({"a": torch.randn(50, 50), "b": torch.randn(60, 60)}, made.checkpoints / name)
    os.utime(made.checkpoints / "previous.ckpt", (1, 1))
    return made


def test_a_half_written_checkpoint_gives_way_to_the_newest_whole_one(run, caplog):
    """Weights of an epoch are no way to go on."""
    last = run.checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    for meant in (run.path, last):
        assert find_run(meant)[1].name == "previous.ckpt"
    assert "half-written" in caplog.text
    (run.checkpoints / "previous.ckpt").unlink()
    with pytest.raises(UserError, match="holds no whole checkpoint"):
        find_run(run.path)


@pytest.mark.parametrize("place", [0, 4096, 0.5, -4096])
def test_a_checkpoint_with_4_kib_overwritten_gives_way_to_the_one_before(run, caplog, place):
    """Each record is compared with the checksum that torch wrote with it."""
    last = run.checkpoints / "last.ckpt"
    broken, start = bytearray(last.read_bytes()), int(place * last.stat().st_size) if 0 < place < 1 else place
    start %= len(broken)
    broken[start : start + 4096] = bytes(range(1, 129)) * 32
    last.write_bytes(broken[: last.stat().st_size])
    assert find_run(run.path)[1].name == "previous.ckpt"
    assert "half-written or damaged; going on from the previous one" in caplog.text


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        find_run(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no last.ckpt"):
        find_run(tmp_path)


def test_metrics_of_earlier_parts_are_kept(tmp_path):
    run = RunFolder(tmp_path)
    for text in ("one", "two"):
        (tmp_path / "metrics.csv").write_text(text)
        set_aside_metrics(run)
    assert (tmp_path / "metrics-000.csv").read_text() == "one"
    assert (tmp_path / "metrics-001.csv").read_text() == "two"


@pytest.mark.parametrize("began", [False, True])
def test_a_refused_resume_leaves_config_and_metrics(tmp_path, began):
    """But an error after the first step is no refusal: then the new part's files stay."""
    run = RunFolder(tmp_path)
    run.config.write_text("old")
    (tmp_path / "metrics.csv").write_text("first part")
    with pytest.raises(UserError), refused_resume_undone(run, resuming=True):
        set_aside_metrics(run)
        run.config.write_text("new")
        if began:
            (tmp_path / "metrics.csv").write_text("second part")
        raise UserError("no")
    assert run.config.read_text() == ("new" if began else "old")
    assert (tmp_path / "metrics.csv").read_text() == ("second part" if began else "first part")
    assert (tmp_path / "metrics-000.csv").exists() is began


HOLD = """
import sys
from formats.run_folder import *
with locked(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_folder_has_one_writer_and_a_killed_one_blocks_nobody(tmp_path):
    """The lock ends with its process, by kill -9 too, although its file stays."""
    run = RunFolder(tmp_path / "run")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with (
        pytest.raises(
            UserError, match=rf"being written by another run, process {process.pid} on .* a folder of its own"
        ),
        locked(run),
    ):
        pass
    process.kill()
    process.wait()
    assert (run.path / ".lock").exists()
    with locked(run):
        assert (run.path / ".lock").read_text().startswith(str(os.getpid()))
    assert not (run.path / ".lock").exists()
