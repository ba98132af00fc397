"""Run folders, logs/<time>_<name>/{config.yaml, checkpoints/, images/, metrics.csv}."""

import errno
import logging
import os
import platform
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from commands.errors import UserError
from commands.processes import is_first_process
from formats.atomic import write_text

try:
    import fcntl
except ImportError:  # Windows: runs are not kept apart there
    fcntl = None

log = logging.getLogger(__name__)

WEIGHTS_ONLY = "epoch-"  # checkpoints of whole epochs are for prediction and comparison, not for going on
RUN_VARIABLE = "FRAME_PREDICTION_RUN"  # tells the name to processes that Lightning starts for further GPUs


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The composed config; a valid `--base`."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """last.ckpt and best.ckpt."""
        return self.path / "checkpoints"

    @property
    def images(self) -> Path:
        """Picture grids made while training."""
        return self.path / "images"


def new_run(logdir: Path, name: str, postfix: str = "") -> RunFolder:
    """A folder named by time; the same in all processes that Lightning starts.

    Those that torchrun or srun start may read the clock a second apart; only the first of them writes.
    """
    if RUN_VARIABLE not in os.environ:
        stamp = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        os.environ[RUN_VARIABLE] = str(Path(logdir) / f"{stamp}_{name}{postfix}")
    return RunFolder(Path(os.environ[RUN_VARIABLE]))


def find_config(checkpoint: Path) -> Path | None:
    """config.yaml beside a checkpoint, or that of the run folder it lies in."""
    for folder in (checkpoint, checkpoint.parent, checkpoint.parent.parent):
        if (folder / "config.yaml").is_file():
            return folder / "config.yaml"
    return None


def find_run(resume: Path) -> tuple[RunFolder, Path]:
    """Run folder and checkpoint that `--resume` means: a run folder, or a file in its checkpoints/.

    In a folder the newest of last.ckpt, last-v1.ckpt, ... is taken; in place of one that is half-written or damaged,
    the newest complete one beside it, with a warning.

    Raises:
        UserError: if there is nothing to resume.
    """
    resume = Path(resume)
    if resume.is_file():
        run = RunFolder(resume.resolve().parent.parent)
        return run, _whole_or_previous(resume, run)
    run = RunFolder(resume)
    if not resume.is_dir():
        raise UserError(f"--resume {resume}: there is no such run folder or checkpoint.")
    found = sorted(run.checkpoints.glob("last*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            f"--resume {resume}: {run.checkpoints} holds no last.ckpt; the run saved nothing to go on from."
        )
    return run, _whole_or_previous(found[-1], run)


def _whole_or_previous(checkpoint: Path, run: RunFolder) -> Path:
    """The checkpoint, or the newest whole one of the run where it is cut short or damaged."""
    others = (path for path in run.checkpoints.glob("*.ckpt") if not path.name.startswith(WEIGHTS_ONLY))
    others = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
    whole = next((path for path in (checkpoint, *others) if is_whole(path)), None)
    if whole is None:
        raise UserError(
            f"--resume: {checkpoint} is half-written or damaged, and {run.checkpoints} holds no whole checkpoint."
        )
    if whole != checkpoint:
        log.warning("%s is half-written or damaged; going on from the previous one, %s.", checkpoint, whole)
    return whole


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint reads to its end and each of its records has the checksum that was written with it."""
    try:
        with zipfile.ZipFile(checkpoint) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError):
        # zipfile raises NotImplementedError where damage turned the number of a compression into another.
        return False


def set_aside_metrics(run: RunFolder) -> Path | None:
    """Keep the metrics of the part before a resume: metrics.csv => metrics-000.csv, metrics-001.csv, ...; its name."""
    metrics = run.path / "metrics.csv"
    if not metrics.is_file():
        return None
    number = len(list(run.path.glob("metrics-*.csv")))
    return metrics.rename(run.path / f"metrics-{number:03d}.csv")


def refuse_taken(run: RunFolder) -> None:
    """Refuse to begin a run where one has saved a checkpoint already.

    Raises:
        UserError: says how to go on with that one.
    """
    if any(run.checkpoints.glob("*.ckpt")):
        raise UserError(f"--folder {run.path} holds a run already; go on with it: --resume {run.path}")


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Inside the block no other run may write the folder; the first process of a run holds the lock for all of them.

    The lock is the system's, on a file `.lock`: it ends with the process that holds it, however that ends.

    Raises:
        UserError: if another run holds it; names its process.
    """
    if fcntl is None or not is_first_process():
        yield
        return
    path = run.path / ".lock"
    run.path.mkdir(parents=True, exist_ok=True)
    with _lock_file(path) as file:
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _lock_file(path: Path) -> Iterator[TextIO]:
    """The file, opened and locked; anew where another run removed it between the two."""
    while True:
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                file.seek(0)
                raise UserError(
                    f"{path.parent} is being written by another run, process {file.read() or 'unknown'}; wait until "
                    "it ends, or give this one a folder of its own."
                ) from error
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


@contextmanager
def refused_resume_undone(run: RunFolder, *, resuming: bool) -> Iterator[None]:
    """Around a run: config and metrics stay as they were if its resume is refused, as from another recipe's checkpoint.

    Inside the block the config may be written over and the metrics be set aside.
    """
    before = run.config.read_text(encoding="utf-8") if resuming and run.config.is_file() else None
    kept = set(run.path.glob("metrics-*.csv"))
    try:
        yield
    except ValueError:
        metrics = run.path / "metrics.csv"
        aside = sorted(set(run.path.glob("metrics-*.csv")) - kept)
        if before is not None and is_first_process() and not metrics.exists():  # no step was made
            write_text(run.config, before)
            for path in aside:
                path.rename(metrics)
        raise
