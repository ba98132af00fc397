"""What one call of main.py asks for, and the config, run folder and checkpoint that it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands.errors import UserError
from formats.run_folder import RunFolder, find_run, new_run, refuse_taken
from ldm.training.checks import check_whole
from ldm.training.config import merge, merge_files, resolve_config
from ldm.util import check_targets


@dataclass(frozen=True)
class TrainRequest:
    """The command line, parsed.

    Args:
        base, overrides: configs, merged left to right, and `key.key=value` over them.
        trainer: arguments of Lightning's Trainer given as flags; they win over the config's.
        resume: run folder or checkpoint to go on from; `trust_config` lets its config name any class.
        logdir, name, postfix: make the name of a new run's folder; `folder` names it exactly.
        seed: overrides the config's.
        gpus: indices of CUDA devices; None leaves the choice to the config.
        train, test: what to do.
        scale_lr: multiply the learning rate by the global batch.
        cache_latents, cache_variants: folder of encoded training pairs, and augmented variants of each.
        dry_run: describe, train nothing.
    """

    base: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)
    resume: Path | None = None
    trust_config: bool = False
    logdir: Path = Path("logs")
    name: str = ""
    postfix: str = ""
    folder: Path | None = None
    seed: int | None = None
    gpus: tuple[int, ...] | None = None
    train: bool = True
    test: bool = True
    scale_lr: bool = False
    cache_latents: Path | None = None
    cache_variants: int = 1
    dry_run: bool = False

    def compose(self) -> "Composed":
        """The config that this call means, and where its run lies.

        Raises:
            UserError: if files, overrides and flags make no config, or the run cannot be there.
        """
        run, checkpoint = find_run(self.resume) if self.resume else (None, None)
        base = list(self.base)
        if run is not None:
            alone = resolve_config(merge_files([run.config]))
            check_targets(alone, trusted=self.trust_config, where=str(run.config))
            base.insert(0, run.config)
        if not base:
            raise UserError("which config? Give --base configs/train.yaml, or --resume logs/<run>.")
        config = merge_files(base, self.overrides)
        config = merge(config, {"lightning": {"trainer": dict(self.trainer)}} if self.trainer else {})
        if self.seed is not None:
            config = merge(config, {"seed": self.seed, "data": {"params": {"seed": self.seed}}})
        check_whole(config, base)
        if run is None:
            return Composed(config, self._new_run(base[-1].stem), None)
        if self.folder and self.folder.resolve() != run.path.resolve():
            raise UserError(f"--folder {self.folder}: a resumed run stays in {run.path}; leave the flag out.")
        return Composed(config, run, checkpoint)

    def _new_run(self, config_name: str) -> RunFolder:
        if self.folder is None:
            return new_run(self.logdir, self.name or config_name, self.postfix)
        run = RunFolder(self.folder)
        refuse_taken(run)
        return run


@dataclass(frozen=True)
class Composed:
    """A request's config with its interpolations, its run folder, and the checkpoint to go on from, if any."""

    config: dict
    run: RunFolder
    checkpoint: Path | None
