"""Which code ran: what results files name. Asks git."""

import subprocess
from pathlib import Path


def read_commit() -> str:
    """Commit of the project's working tree, "-dirty" where tracked files were changed, "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        described = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()
