"""Trains and tests a model from configs: python main.py --base configs/train.yaml --gpus 0,1

The composition root: configs, data, model, weights and callbacks meet here and nowhere else. Nothing imports it.
"""

import argparse
import inspect
import logging
import math
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from rich.console import Console

from commands.errors import BAD_INPUT, UserError, sentence_for
from commands.processes import is_first_process
from formats.run_folder import RunFolder, find_run, new_run, refused_resume_undone, set_aside_metrics
from ldm.callbacks.checkpointing import AtomicCheckpointIO, LastCheckpoint, RunInterruptedError, StepBoundary
from ldm.callbacks.run_record import RunFacts
from ldm.callbacks.same_batches import SameBatches
from ldm.callbacks.wandb_run import make_wandb_logger
from ldm.data.latent_cache import cache_or_check, is_whole_cache
from ldm.training.build import build_trained_model
from ldm.training.checks import check_resolutions, check_whole, pairs_doubts, resolution_doubts
from ldm.training.config import merge, merge_files, parse_value, resolve_config, save_config
from ldm.training.dry_run import describe_run
from ldm.training.launcher import count_processes, follow_launcher, own_device, read_launcher
from ldm.util import check_config, instantiate_from_config
from stable_diffusion.checkpoint import load_first_stage, load_pretrained
from stable_diffusion.weights import resolve, resolve_tokenizer

log = logging.getLogger("main")

LIGHTNING_WARNINGS = (  # true, and of no use to the reader of a run's output
    r".*module\(s\) in eval mode at the start of training",  # the frozen parts
    r".*is not empty",  # the run folder holds its config already
    r".*treespec, LeafSpec",
    r".*does not have many workers",
    r".*could not find the monitored key",  # before the first validation
    r".*`lr_scheduler.step\(\)` before `optimizer.step\(\)`",
    r".*The dirpath has changed",
)
LIGHTNING_LINES = ("💡", "`weights_only` was not set", "TPU available", "GPU available", "`Trainer(val_check_interval")
INTERRUPTED = 130  # exit code, as a shell gives it to a program stopped by Ctrl-C
NOT_FLAGS = {"self", "logger", "callbacks", "plugins", "accelerator_connector", "model_registry"}


def parse_bool(text: str) -> bool:
    """`--train`, `--train True`, `--train no`."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"wanted true or false, got '{text}'")


def parse_gpus(text: str) -> list[int]:
    """Indices of GPUs: `0`, `0,` and `0,1`."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted GPU indices such as 0 or 0,1, got '{text}'") from None


def parse_trainer_value(text: str) -> Any:
    """Value of a flag of Lightning's Trainer, as a config has it."""
    try:
        return parse_value(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    """All flags; each argument of Lightning's Trainer is one too."""
    parser = argparse.ArgumentParser(prog="main.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-b", "--base", nargs="+", default=[], metavar="YAML", help="configs, merged left to right")
    parser.add_argument("-t", "--train", nargs="?", type=parse_bool, const=True, default=True, help="fit (default)")
    parser.add_argument("--no-test", nargs="?", type=parse_bool, const=True, default=False, help="only fit")
    parser.add_argument("-r", "--resume", type=Path, help="run folder, or checkpoint in one, to go on from")
    parser.add_argument("-n", "--name", default="", help="name of the run; default: the last config's")
    parser.add_argument("-p", "--postfix", default="", help="appended to the run's name")
    parser.add_argument("-l", "--logdir", type=Path, default=Path("logs"), help="parent of run folders")
    parser.add_argument("--folder", type=Path, help="exact run folder, instead of <logdir>/<time>_<name>")
    parser.add_argument("-s", "--seed", type=int, help="overrides the config's seed")
    parser.add_argument("--gpus", type=parse_gpus, help="GPUs to train on, such as 0,1; default: the config's devices")
    parser.add_argument(
        "--scale_lr",
        nargs="?",
        type=parse_bool,
        const=True,
        default=False,
        help="multiply the learning rate by the global batch size",
    )
    parser.add_argument(
        "--cache-latents", type=Path, metavar="FOLDER", help="encode training pairs once, train from it"
    )
    parser.add_argument("--cache-variants", type=int, default=1, metavar="K", help="augmented variants of each pair")
    parser.add_argument("--dry-run", action="store_true", help="build on the meta device, say what is missing, stop")
    for name in trainer_arguments():
        flags = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        parser.add_argument(*flags, dest=f"trainer.{name}", type=parse_trainer_value, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="key.key=value", help="overrides of the config")
    return parser


def trainer_arguments() -> list[str]:
    """Names that Lightning's Trainer takes and that can be given on a command line."""
    return [name for name in inspect.signature(pl.Trainer.__init__).parameters if name not in NOT_FLAGS]


def compose_run(opt: argparse.Namespace) -> tuple[dict, RunFolder, Path | None]:
    """Config with its interpolations, run folder and checkpoint to resume from, if any."""
    run, checkpoint = find_run(opt.resume) if opt.resume else (None, None)
    overrides = [part for part in opt.base if "=" in part and not Path(part).is_file()]  # as in --base a.yaml key=value
    base = [Path(part) for part in opt.base if part not in overrides]
    if run is not None:
        base = [run.config, *base]
    if not base:
        raise UserError("which config? Give --base configs/train.yaml, or --resume logs/<run>.")
    config = merge_files(base, [*overrides, *opt.overrides])
    flags = {k.removeprefix("trainer."): v for k, v in vars(opt).items() if k.startswith("trainer.") and v is not None}
    config = merge(config, {"lightning": {"trainer": flags}} if flags else {})
    if opt.seed is not None:
        config = merge(config, {"seed": opt.seed, "data": {"params": {"seed": opt.seed}}})
    check_whole(config, base)
    if opt.folder and run is not None and opt.folder.resolve() != run.path.resolve():
        raise UserError(f"--folder {opt.folder}: a resumed run stays in {run.path}; leave the flag out.")
    if opt.folder and run is None and any(RunFolder(opt.folder).checkpoints.glob("*.ckpt")):
        raise UserError(f"--folder {opt.folder} holds a run already; go on with it: --resume {opt.folder}")
    if run is None:
        run = RunFolder(opt.folder) if opt.folder else new_run(opt.logdir, opt.name or base[-1].stem, opt.postfix)
    return config, run, checkpoint


def choose_devices(config: dict, gpus: list[int] | None) -> dict:
    """Trainer arguments that say where to run, on as many processes as torchrun or srun started.

    Raises:
        UserError: if GPUs are asked for that are not there, or not as many as processes.
    """
    trainer = dict(config["lightning"].get("trainer") or {})
    if gpus is None:
        return follow_launcher(trainer)
    found = torch.cuda.device_count()
    missing = [gpu for gpu in gpus if gpu >= found]
    if missing or not gpus:
        wanted = ",".join(map(str, gpus)) or "none"
        raise UserError(
            f"--gpus {wanted}: this machine has {found or 'no'} CUDA GPU{'s' if found != 1 else ''}; look at the run "
            "with --dry-run, or try the small one: python main.py --base configs/train.yaml configs/cpu_tiny.yaml"
        )
    return follow_launcher(trainer | {"accelerator": "gpu", "devices": gpus})


def build_model(config: dict, *, resuming: bool) -> Any:
    """The model with its pretrained weights, which a resumed run takes from its own checkpoint instead."""
    model = build_trained_model(config["model"])
    pretrained = config.get("pretrained")
    if pretrained and not resuming:
        if not any(pretrained.get(key) for key in ("path", "name", "first_stage")):
            raise UserError("pretrained: the recipe goes on from an earlier run; give pretrained.path=<last.ckpt>.")
        if pretrained.get("path") or pretrained.get("name"):
            path = Path(pretrained["path"]) if pretrained.get("path") else resolve(pretrained["name"])
            options = {"use_ema": pretrained.get("use_ema", True), "widen": pretrained.get("widen", True)}
            log.info("%s", load_pretrained(model, path, **options))
        if pretrained.get("first_stage"):  # such as a fine-tuned decoder, in place of the one just loaded
            log.info("first stage of %s", load_first_stage(model, pretrained["first_stage"]))
    return model


def missing_weights(config: dict) -> list[str]:
    """What is to be done before the pretrained weights, and the tokenizer they want, can be loaded."""
    pretrained = config.get("pretrained") or {}
    lookups = []
    if pretrained.get("name") and not pretrained.get("path"):
        lookups.append(lambda: resolve(pretrained["name"]))
    if pretrained.get("first_stage"):
        lookups.append(lambda: resolve(pretrained["first_stage"]))
    text_encoder = config["model"]["params"].get("cond_stage_config") or {}
    if text_encoder.get("target", "").endswith(".FrozenCLIPEmbedder"):
        lookups.append(resolve_tokenizer)
    missing = []
    if pretrained.get("path") and not Path(pretrained["path"]).exists():
        missing.append(f"pretrained.path: there is no {pretrained['path']}; name the earlier run's last.ckpt.")
    for lookup in lookups:
        try:
            lookup()
        except FileNotFoundError as error:
            missing.append(str(error))
    return missing


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
    return [*callbacks, LastCheckpoint(run.checkpoints, saving["every_n_steps"], boundary)]


def build_loggers(config: dict, run: RunFolder) -> list:
    """CSV goes to metrics.csv; W&B is offline unless the user is logged in."""
    loggers: list = []
    for name in config["lightning"].get("loggers", ["csv"]) or []:
        if name == "csv":
            loggers.append(CSVLogger(run.path.parent, name=run.path.name, version="", flush_logs_every_n_steps=20))
        elif name == "wandb":
            wandb_logger = make_wandb_logger(run.path, config)
            loggers += [wandb_logger] if wandb_logger else []
        else:
            raise UserError(f"lightning.loggers: '{name}' is not one of csv, wandb.")
    return loggers


def fit_and_test(written: dict, run: RunFolder, checkpoint: Path | None, opt: argparse.Namespace) -> None:
    """Build everything that a config describes, train, test."""
    config = resolve_config(written)
    if opt.cache_latents and checkpoint is not None:
        check_began_with(config, opt.cache_latents)
    trainer_config = choose_devices(config, opt.gpus)
    pl.seed_everything(config["seed"], verbose=False)
    check_config(config["data"], "data")
    data = instantiate_from_config(config["data"], "data")
    data.setup()
    model = build_model(config, resuming=checkpoint is not None)
    check_run(config, model, data)
    if opt.cache_latents and checkpoint is None:
        model.to(own_device(trainer_config))
        data = train_from_cache(config, model, data, opt, trainer_config.get("precision"))
        written = merge(written, {"data": {"params": {"train": config["data"]["params"]["train"]}}})
    if opt.scale_lr:
        scale_learning_rate(model, config, trainer_config)
    with refused_resume_undone(run, resuming=checkpoint is not None):
        if is_first_process():
            set_aside_metrics(run)
            save_config(written, run.config, header="composed by: python main.py " + " ".join(sys.argv[1:]))
            log.info("run folder: %s", run.path)
        for name, count in model.describe_parts().items():
            log.info("%-12s %10.2f M parameters", name, count / 1e6)
        loggers = build_loggers(config, run)
        rates = [LearningRateMonitor("step")] if loggers else []  # it refuses a run without loggers
        trainer = pl.Trainer(
            **{"enable_model_summary": False, **trainer_config},
            callbacks=[*build_callbacks(config, run), *rates],
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
        )
        if opt.train:
            trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
            log.info("finished; the last checkpoint is %s", run.checkpoints / "last.ckpt")
    if not opt.no_test and data.configs["test"] is not None:
        trained_elsewhere = None if opt.train else checkpoint  # the weights of this run are in the model
        trainer.test(model, data, ckpt_path=trained_elsewhere, weights_only=True)


def check_run(config: dict, model: Any, data: Any) -> None:
    """Refuse what cannot train; say what trains, but not as the config reads."""
    check_resolutions(model, config["data"]["params"])
    train, validation = (getattr(data.datasets.get(split), "pairs", []) for split in ("train", "validation"))
    for doubt in (*resolution_doubts(config), *pairs_doubts(train, validation, config.get("horizon"))):
        log.log(logging.WARNING if is_first_process() else logging.DEBUG, "%s", doubt)


def check_began_with(config: dict, cache: Path) -> None:
    """Refuse --cache-latents on a resumed run that did not begin with that cache."""
    began_with = Path(config["data"]["params"]["train"]["params"].get("folder", ""))
    if began_with.resolve() != cache.resolve():
        raise UserError(
            f"--cache-latents {cache}: a resumed run goes on with the pairs that it began with, those of {began_with}; "
            "leave the flag out, or begin a new run."
        )


def as_in_training(precision: object, device: torch.device) -> AbstractContextManager:
    """What encodes under it computes as it would inside a training step; a CPU caches in full precision."""
    dtype = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(str(precision))
    return torch.autocast(device.type, dtype) if dtype and device.type == "cuda" else nullcontext()


def train_from_cache(config: dict, model: Any, data: Any, opt: argparse.Namespace, precision: object) -> Any:
    """The data module with its training pairs taken from cached latents, which are made where they are not there."""
    params = config["data"]["params"]
    if params.get("resolutions"):
        raise UserError("--cache-latents: latents have one resolution; give data.params.resolutions=[] too.")
    launcher, made = read_launcher()
    if math.prod(made.values()) > 1 and not is_whole_cache(opt.cache_latents):
        raise UserError(
            f"--cache-latents {opt.cache_latents}: there is no whole cache yet, and {launcher}'s processes would write "
            "it all at once; make it first with one, without the launcher: the same command with --train false"
        )
    pairs, node = data.datasets["train"], params["train"]["params"]
    options = {"variants": opt.cache_variants, "num_workers": data.num_workers}
    with as_in_training(precision, model.device):
        params["train"] = cache_or_check(model, pairs, node, opt.cache_latents, **options)
    cached = instantiate_from_config(config["data"], "data")
    cached.setup()
    return cached


def scale_learning_rate(model: Any, config: dict, trainer: dict) -> None:
    """The original's --scale_lr: rate x processes x batch x accumulation, said aloud."""
    batch, accumulated = config["data"]["params"]["batch_size"], trainer.get("accumulate_grad_batches", 1)
    factor = count_processes(trainer) * batch * accumulated
    log.info("learning rate %.3g x global batch %d = %.3g", model.learning_rate, factor, model.learning_rate * factor)
    model.learning_rate *= factor


def run_main(argv: list[str]) -> int:
    """Parse, compose, and train or describe; returns the exit code."""
    opt = make_parser().parse_intermixed_args(argv)
    config, run, checkpoint = compose_run(opt)
    if opt.dry_run:
        config = resolve_config(config)
        Console(highlight=False).print(describe_run(config, opt.gpus, missing_weights(config)), soft_wrap=True)
        return 0
    fit_and_test(config, run, checkpoint, opt)
    return 0


def quiet_lightning() -> None:
    """Keep advertisements and repetitions out of the output; everything else of Lightning's is shown."""
    for message in LIGHTNING_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in (None, "pytorch_lightning", "lightning_fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(lambda record: not record.getMessage().startswith(LIGHTNING_LINES))


def main(argv: list[str] | None = None) -> int:
    """Run, and turn what a user can mend into one sentence and exit code 2."""
    level = logging.INFO if is_first_process() else logging.WARNING  # once is enough
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    quiet_lightning()
    try:
        return run_main(sys.argv[1:] if argv is None else argv)
    except RunInterruptedError as stop:
        print(f"main.py: {stop}; go on with: python main.py --resume <the run folder above>", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("main.py: stopped before training began.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None:
            raise
        print(f"main.py: {sentence}", file=sys.stderr)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
