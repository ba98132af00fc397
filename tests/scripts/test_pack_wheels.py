"""Wheels for a machine without a registry, with a pip that only notes what it was asked."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pack_wheels.sh"


@pytest.mark.parametrize(("kib", "names", "code", "said"), [
    (1, ["omegaconf"], 0, "1 wheels"),
    (41 * 1024, ["omegaconf"], 2, "more than 40"),
    (1, ["nobody"], 2, "requirements.txt has no nobody"),
])  # fmt: skip
def test_pinned_wheels_are_fetched_and_their_size_is_checked(tmp_path, kib, names, code, said):
    (tmp_path / "requirements.txt").write_text("OmegaConf==2.4.0\n")
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$@" > asked\nhead -c {kib * 1024} /dev/urandom > wheels/x.whl\n')
    pip.chmod(0o755)
    command = ["bash", SCRIPT, "wheels", *names]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PIP": "./pip"}
    )
    assert done.returncode == code and said in done.stdout + done.stderr
    assert code or "--no-deps" in (tmp_path / "asked").read_text()
    assert code or "OmegaConf==2.4.0" in (tmp_path / "asked").read_text()
