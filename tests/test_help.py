"""The law of every command's --help: it is there at once, whatever the command itself will need."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "omegaconf", "gradio", "mujoco", "h5py")
HELP = f"""
import sys, {{0}} as command
try:
    command.main(["--help"])
except SystemExit:
    print([name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("main", "--cache-latents"),
        ("edit_cli", "python edit_cli.py --input data/prepared"),
        ("edit_app", "python edit_app.py"),
        ("run_policy", "--policy"),
        ("dataset_tools.simulate", "--operator-noise"),
    ],
)
def test_help_imports_nothing_heavy(command, said):
    words, root = [sys.executable, "-c", HELP.format(command)], Path(__file__).resolve().parents[1]
    printed = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout
    assert said in printed and printed.endswith("[]\n")
