"""The package runs as a command."""

import subprocess
import sys
from pathlib import Path


def test_help_is_printed():
    """`python -m dataset_tools.simulator --help` lists the options and exits with 0."""
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "dataset_tools.simulator", "--help"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "--save-freq" in result.stdout
