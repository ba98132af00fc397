"""Where this project keeps what it can make again: results of measurements, networks in other forms."""

import os
from pathlib import Path


def default_cache_folder() -> Path:
    """$XDG_CACHE_HOME/frame-prediction, ~/.cache/frame-prediction."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frame-prediction"
