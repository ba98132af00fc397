"""The demo's script, with a python that only notes what it was asked."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo.sh"


@pytest.mark.parametrize("saved", [False, True])
def test_a_demo_stopped_before_its_first_checkpoint_trains_again(tmp_path, saved):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> asked\n')
    python.chmod(0o755)
    (tmp_path / "demo" / "prepared").mkdir(parents=True)
    checkpoints = tmp_path / "demo" / "logs" / "train" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / ("last.ckpt" if saved else ".last.1.partial.ckpt")).touch()
    subprocess.run(["bash", SCRIPT, "demo", "model", "1000", "20"], cwd=tmp_path, check=True, capture_output=True)
    asked = (tmp_path / "asked").read_text()
    assert "main.py --resume demo/logs/train" in asked
    assert ("main.py --base" in asked) != saved
    assert saved or not list(checkpoints.iterdir()), "a half-written checkpoint does not count as a run"
