"""Weights & Biases: one run there for one run folder here, resumed with it, offline without a login.

wandb is optional: where it is not installed, metrics.csv alone is written.
"""

import logging
import netrc
import os
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger

from commands.processes import is_first_process
from formats.atomic import write_text

log = logging.getLogger(__name__)

PROJECT = "frame-prediction"
ID_FILE = "wandb_id.txt"


def is_logged_in_to_wandb() -> bool:
    """Whether `wandb login` or WANDB_API_KEY left a key; without one wandb would ask, or fail."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def choose_mode() -> str:
    """WANDB_MODE where it is set; else online for who is logged in, offline for others."""
    return os.environ.get("WANDB_MODE") or ("online" if is_logged_in_to_wandb() else "offline")


def keep_run_id(folder: Path) -> str:
    """The W&B id of a run folder: drawn once, then read from wandb_id.txt, so that a resume goes on in the same run.

    Only the first process of a run draws and writes; W&B hears of no other.
    """
    path = Path(folder) / ID_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    drawn = uuid.uuid4().hex[:12]  # not torch's chance: a run's draws do not depend on its loggers
    if is_first_process():
        write_text(path, drawn + "\n")
    return drawn


def make_wandb_logger(folder: Path, config: Mapping) -> WandbLogger | None:
    """The logger of a run folder, named as the folder; None, said once, where wandb is not installed.

    Args:
        folder: the run folder; W&B's own files go to its wandb/.
        config: composed config of the run, shown beside its curves.
    """
    if find_spec("wandb") is None:
        log.warning("wandb is not installed: metrics go to metrics.csv only. Install it with: pip install wandb")
        return None
    return WandbLogger(
        project=PROJECT,
        name=Path(folder).name,
        save_dir=folder,
        id=keep_run_id(folder),
        resume="allow",
        mode=choose_mode(),
        config=dict(config),
        allow_val_change=True,  # a resume may train longer
    )
