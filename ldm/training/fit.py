"""One training run, from a config to checkpoints: data, model, callbacks and loggers meet Lightning's Trainer here."""

import logging
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from commands.errors import MissingFileError, UserError
from commands.processes import is_first_process
from formats.run_folder import RunFolder, locked, refuse_taken, refused_resume_undone, set_aside_metrics
from ldm.callbacks.checkpointing import AtomicCheckpointIO, EpochCheckpoints, LastCheckpoint, StepBoundary
from ldm.callbacks.run_record import RunFacts
from ldm.callbacks.same_batches import SameBatches
from ldm.callbacks.wandb_run import make_wandb_logger
from ldm.data.latent_cache import cache_or_check, is_whole_cache
from ldm.training.build import build_trained_model
from ldm.training.checks import (
    check_resolutions,
    data_doubts,
    how_to_prepare,
    true_horizon,
    true_seconds,
    true_template,
)
from ldm.training.config import merge, save_config
from ldm.training.keys import check_values
from ldm.training.launcher import choose_devices, count_processes, own_device, read_launcher
from ldm.training.request import Composed, TrainRequest
from ldm.training.strategy import lightning_strategy, shards_moments
from ldm.util import check_config, instantiate_from_config

log = logging.getLogger("main")

LIGHTNING_WARNINGS = (  # true, and of no use to the reader of a run's output
    r".*module\(s\) in eval mode at the start of training",  # the frozen parts
    r".*is not empty",  # the run folder holds its config already
    r".*treespec, LeafSpec",
    r".*does not have many workers",
    r".*could not find the monitored key",  # before the first validation
    r".*`lr_scheduler.step\(\)` before `optimizer.step\(\)`",
    r".*The dirpath has changed",
    r".*Total length of `list` across ranks is zero",  # a run without validation pairs
)
LIGHTNING_LINES = ("💡", "`weights_only` was not set", "TPU available", "GPU available", "`Trainer(val_check_interval")


def quiet_lightning() -> None:
    """Keep advertisements and repetitions out of the output; everything else of Lightning's is shown."""
    for message in LIGHTNING_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in (None, "pytorch_lightning", "lightning_fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(lambda record: not record.getMessage().startswith(LIGHTNING_LINES))


class TrainingRun:
    """Data and model of a config, checked against each other; nothing is written before `fit_and_test`.

    Args:
        request: what the user asked for.
        composed: the config as it is written, the run folder, the checkpoint to go on from.
        config: the same config, resolved.
    """

    def __init__(self, request: TrainRequest, composed: Composed, config: dict) -> None:
        quiet_lightning()
        check_values(config)
        self.request, self.composed, self.config = request, composed, config
        if request.cache_latents and composed.checkpoint is not None:
            self._check_began_with(request.cache_latents)
        self.trainer_config = choose_devices(config["lightning"].get("trainer") or {}, request.gpus)
        pl.seed_everything(config["seed"], verbose=False)
        check_config(config["data"], "data")
        if request.train and not config["data"]["params"].get("train"):
            raise UserError("data.params.train: none; this config is for predictions, see the command in its header.")
        self.data = instantiate_from_config(config["data"], "data")
        try:
            self.data.setup()
        except MissingFileError as error:
            raise MissingFileError(how_to_prepare(error, config)) from error
        self.model = build_trained_model(config["model"])
        check_resolutions(self.model, config["data"]["params"])

    def _check_began_with(self, cache: Path) -> None:
        """Refuse --cache-latents on a resumed run that did not begin with that cache."""
        began_with = Path(self.config["data"]["params"]["train"]["params"].get("folder", ""))
        if began_with.resolve() != cache.resolve():
            raise UserError(
                f"--cache-latents {cache}: a resumed run goes on with the pairs that it began with, those of "
                f"{began_with}; leave the flag out, or begin a new run."
            )

    def fit_and_test(self) -> None:
        """Train and test, as far as the request wants them; the model has its start weights by now."""
        request, run, checkpoint = self.request, self.composed.run, self.composed.checkpoint
        written = merge(self.composed.config, self._check_pairs())
        if request.cache_latents and checkpoint is None:
            written = merge(written, self._train_from_cache(request.cache_latents))
        if request.scale_lr:
            self._scale_learning_rate()
        with locked(run), refused_resume_undone(run, resuming=checkpoint is not None), denormals_as_zero():
            if is_first_process():
                if checkpoint is None:
                    refuse_taken(run)  # by one that began in the same second
                set_aside_metrics(run)
                save_config(written, run.config, header="composed by: python main.py " + " ".join(sys.argv[1:]))
                log.info("run folder: %s", run.path)
            for name, count in self.model.describe_parts().items():
                log.info("%-12s %10.2f M parameters", name, count / 1e6)
            self.model.shards_moments = shards_moments(self.trainer_config)
            trainer = make_trainer(self.config, self.trainer_config, run)
            if request.train:
                trainer.fit(self.model, self.data, ckpt_path=checkpoint, weights_only=True)
                log.info("finished; the last checkpoint is %s", run.checkpoints / "last.ckpt")
            if request.test and self.data.configs["test"] is not None:
                trained_elsewhere = None if request.train else checkpoint  # the weights of this run are in the model
                trainer.test(self.model, self.data, ckpt_path=trained_elsewhere, weights_only=True)

    def _check_pairs(self) -> dict:
        """Say what trains, but not as the config reads; what the saved config changes: the data's horizon and form."""
        pairs = {split: getattr(data, "pairs", []) for split, data in self.data.datasets.items()}
        for doubt in data_doubts(self.config, pairs):
            log.log(logging.WARNING if is_first_process() else logging.DEBUG, "%s", doubt)
        found = true_horizon(self.config, pairs.get("train", [])) | true_template(self.config)
        return found | true_seconds(self.config, self.data.datasets.get("train"))

    def _train_from_cache(self, cache: Path) -> dict:
        """Take the training pairs from cached latents, which are made where they are not there; the config's change."""
        params = self.config["data"]["params"]
        if params.get("resolutions"):
            raise UserError("--cache-latents: latents have one resolution; give data.params.resolutions=[] too.")
        launcher, made = read_launcher()
        if math.prod(made.values()) > 1 and not is_whole_cache(cache):
            raise UserError(
                f"--cache-latents {cache}: there is no whole cache yet, and {launcher}'s processes would write "
                "it all at once; make it first with one, without the launcher: the same command with --train false"
            )
        self.model.to(own_device(self.trainer_config))
        pairs, node = self.data.datasets["train"], params["train"]["params"]
        options = {"variants": self.request.cache_variants, "num_workers": self.data.num_workers}
        with as_in_training(self.trainer_config.get("precision"), self.model.device):
            params["train"] = cache_or_check(self.model, pairs, node, cache, **options)
        self.data = instantiate_from_config(self.config["data"], "data")
        self.data.setup()
        return {"data": {"params": {"train": params["train"]}}}

    def _scale_learning_rate(self) -> None:
        """The original's --scale_lr: rate x processes x batch x accumulation, said aloud."""
        model, batch = self.model, self.config["data"]["params"]["batch_size"]
        accumulated = self.trainer_config.get("accumulate_grad_batches", 1)
        factor = count_processes(self.trainer_config) * batch * accumulated
        scaled = model.learning_rate * factor
        log.info("learning rate %.3g x global batch %d = %.3g", model.learning_rate, factor, scaled)
        model.learning_rate = scaled


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Count numbers below 1.2e-38 as zero.

    Where layers begin as zero the first gradients are products of tiny factors, and a CPU takes a step with such
    numbers 30 times as long: 16 seconds instead of 0.5, measured with configs/bundled.yaml.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def as_in_training(precision: object, device: torch.device) -> AbstractContextManager:
    """Autocast as inside a training step; none on a CPU, which caches latents in full precision."""
    dtype = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(str(precision))
    return torch.autocast(device.type, dtype) if dtype and device.type == "cuda" else nullcontext()


def make_trainer(config: dict, trainer_config: dict, run: RunFolder) -> pl.Trainer:
    """Lightning's Trainer with the callbacks and loggers of a config.

    Where no ModelCheckpoint is asked for, Lightning's own is switched off: it would write a third full-size file.
    """
    loggers = build_loggers(config, run)
    rates = [LearningRateMonitor("step")] if loggers else []  # it refuses a run without loggers
    callbacks = build_callbacks(config, run)
    saves_best = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return accepted_trainer(
        **{"enable_model_summary": False, "enable_checkpointing": saves_best, **lightning_strategy(trainer_config)},
        callbacks=[*callbacks, *rates],
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
    )


def accepted_trainer(**arguments: Any) -> pl.Trainer:
    """Lightning's Trainer.

    Raises:
        UserError: if Lightning refuses an argument.
    """
    try:
        return pl.Trainer(**arguments)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"lightning.trainer: Lightning refuses it: {' '.join(str(error).split())}") from error


def build_callbacks(config: dict, run: RunFolder) -> list:
    """Checkpoints, progress bar and the callbacks of the config."""
    saving = config["lightning"]["checkpoint"]
    bar = RichProgressBar() if sys.stderr.isatty() else TQDMProgressBar(refresh_rate=0)
    boundary = StepBoundary()
    callbacks = [boundary, bar, RunFacts(run.path), SameBatches()]
    for name, node in (config["lightning"].get("callbacks") or {}).items():
        if node is None:
            continue
        given = {"folder": run.images} if name == "image_logger" else {}
        callbacks.append(instantiate_from_config(node, f"lightning.callbacks.{name}", **given))
    if saving.get("monitor"):
        callbacks.append(
            ModelCheckpoint(run.checkpoints, "best", saving["monitor"], save_top_k=1, enable_version_counter=False)
        )
    if saving.get("keep_epochs"):
        callbacks.append(EpochCheckpoints(run.checkpoints, saving["keep_epochs"]))
    return [*callbacks, LastCheckpoint(run.checkpoints, saving["every_n_steps"], boundary)]


def build_loggers(config: dict, run: RunFolder) -> list:
    """CSV goes to metrics.csv; W&B is offline unless the user is logged in."""
    loggers: list = []
    for name in config["lightning"].get("loggers", ["csv"]) or []:
        if name == "csv":
            loggers.append(CSVLogger(run.path.parent, name=run.path.name, version="", flush_logs_every_n_steps=20))
        elif wandb_logger := make_wandb_logger(run.path, config):
            loggers.append(wandb_logger)
    return loggers
