"""Trains and tests a model from configs: python main.py --base configs/train.yaml --gpus 0,1

The composition root: configs, data, model, weights and callbacks meet here and nowhere else. Nothing imports it.
Heavy packages are imported inside functions, so that --help and a misspelt flag answer at once.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.errors import INTERRUPTED, UserError
from commands.processes import is_first_process
from commands.run import run_command

if TYPE_CHECKING:
    from ldm.training.request import TrainRequest

log = logging.getLogger("main")


def parse_bool(text: str) -> bool:
    """`--train`, `--train True`, `--train no`."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"wanted true or false, got '{text}'")


def parse_gpus(text: str) -> tuple[int, ...]:
    """Indices of GPUs: `0`, `0,` and `0,1`."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted GPU indices such as 0 or 0,1, got '{text}'") from None


def parse_trainer_value(text: str) -> Any:
    """Value of a flag of Lightning's Trainer, as a config has it."""
    from ldm.training.config import parse_value

    try:
        return parse_value(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    """All flags; each argument of Lightning's Trainer is one too."""
    parser = argparse.ArgumentParser(prog="main.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    yes_or_no = {"nargs": "?", "type": parse_bool, "const": True}
    add = parser.add_argument
    add("-b", "--base", nargs="+", default=[], metavar="YAML", help="configs, merged left to right")
    add("-t", "--train", **yes_or_no, default=True, help="fit (default)")
    add("--no-test", **yes_or_no, default=False, help="only fit")
    add("-r", "--resume", type=Path, help="run folder, or checkpoint in one, to go on from")
    add("--trust-config", action="store_true", help="let a resumed run's config name classes that are not ours")
    add("-n", "--name", default="", help="name of the run; default: the last config's")
    add("-p", "--postfix", default="", help="appended to the run's name")
    add("-l", "--logdir", type=Path, default=Path("logs"), help="parent of run folders")
    add("--folder", type=Path, help="exact run folder, instead of <logdir>/<time>_<name>")
    add("-s", "--seed", type=int, help="overrides the config's seed")
    add("--gpus", type=parse_gpus, help="GPUs to train on, such as 0,1; default: the config's devices")
    add("--scale_lr", **yes_or_no, default=False, help="multiply the learning rate by the global batch size")
    add("--cache-latents", type=Path, metavar="FOLDER", help="encode training pairs once, train from it")
    add("--cache-variants", type=int, default=1, metavar="K", help="augmented variants of each pair")
    add("--dry-run", action="store_true", help="build on the meta device, say what is missing, stop")
    from ldm.training.keys import TRAINER_FLAGS

    for name in TRAINER_FLAGS:
        flags = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        add(*flags, dest=f"trainer.{name}", type=parse_trainer_value, help=argparse.SUPPRESS)
    add("overrides", nargs="*", metavar="key.key=value", help="overrides; any argument of the Trainer is a flag too")
    return parser


def make_request(argv: list[str]) -> "TrainRequest":
    """The request of a command line; `--base a.yaml key=value` has its overrides told apart."""
    opt = vars(make_parser().parse_intermixed_args(argv))  # --help ends here

    from ldm.training.request import TrainRequest

    overrides = [part for part in opt["base"] if "=" in part and not Path(part).is_file()]
    base = tuple(Path(part) for part in opt.pop("base") if part not in overrides)
    overrides += opt.pop("overrides")
    flags = {key: opt.pop(key) for key in list(opt) if key.startswith("trainer.")}
    trainer = {key.removeprefix("trainer."): value for key, value in flags.items() if value is not None}
    return TrainRequest(base=base, overrides=tuple(overrides), trainer=trainer, test=not opt.pop("no_test"), **opt)


def load_start_weights(model: Any, pretrained: dict | None) -> None:
    """Give a new model the weights that `pretrained` names."""
    from stable_diffusion.load import load_first_stage, load_pretrained
    from stable_diffusion.weights import resolve

    if not pretrained:
        return
    if not any(pretrained.get(key) for key in ("path", "name", "first_stage", "picture")):
        raise UserError("pretrained: the recipe goes on from an earlier run; give pretrained.path=<last.ckpt>.")
    if getattr(model, "kind", None) == "joint":
        load_joint_weights(model, pretrained)
        return
    if pretrained.get("path") or pretrained.get("name"):
        path = Path(pretrained["path"]) if pretrained.get("path") else resolve(pretrained["name"])
        options = {"use_ema": pretrained.get("use_ema", True), "widen": pretrained.get("widen", True)}
        log.info("%s", load_pretrained(model, path, **options))
    if pretrained.get("first_stage"):  # such as a fine-tuned decoder, in place of the one just loaded
        trained = any(pretrained.get(key) for key in ("path", "name"))
        log.info("first stage of %s", load_first_stage(model, pretrained["first_stage"], trained=trained))


def load_joint_weights(model: Any, pretrained: dict) -> None:
    """Give a model of video and action an earlier stage, or published frozen parts; and its picture predictor's own.

    What an earlier stage has is matched by name; what is new or dropped is said.
    """
    from formats.run_folder import find_run
    from ldm.models.joint.stages import init_from
    from stable_diffusion.load import load_pretrained
    from stable_diffusion.tensor_files import open_tensor_file, read_finite
    from stable_diffusion.weights import resolve

    if pretrained.get("path"):
        path = Path(pretrained["path"])
        file = path if path.is_file() else find_run(path)[1]
        tensors = {name: read_finite(name, tensor, file) for name, tensor in open_tensor_file(file).tensors.items()}
        log.info("%s", init_from(model, tensors, file))
    elif pretrained.get("name"):
        parts = ("first_stage_model", "cond_stage_model")
        log.info("%s", load_pretrained(model, resolve(pretrained["name"]), use_ema=False, widen=False, parts=parts))
    if model.trunk is not None and pretrained.get("picture"):
        log.info("%s", load_pretrained(model.trunk.picture_model, Path(pretrained["picture"]), use_ema=True))


def missing_weights(config: dict) -> list[str]:
    """What is to be done before the pretrained weights, and the tokenizer they want, can be loaded."""
    from ldm.modules.encoders.modules import find_clip_tokenizer
    from stable_diffusion.weights import resolve

    pretrained = config.get("pretrained") or {}
    lookups = []
    if pretrained.get("name") and not pretrained.get("path"):
        lookups.append(lambda: resolve(pretrained["name"]))
    if pretrained.get("first_stage"):
        lookups.append(lambda: resolve(pretrained["first_stage"]))
    text_encoder = config["model"]["params"].get("cond_stage_config") or {}
    if text_encoder.get("target", "").endswith(".FrozenCLIPEmbedder"):
        lookups.append(find_clip_tokenizer)
    missing = []
    for key, whose in (("path", "the earlier run's last.ckpt"), ("picture", "a picture model's file or folder")):
        if pretrained.get(key) and not Path(pretrained[key]).exists():
            missing.append(f"pretrained.{key}: there is no {pretrained[key]}; name {whose}.")
    for lookup in lookups:
        try:
            lookup()
        except FileNotFoundError as error:
            missing.append(str(error))
    return missing


def train(request: "TrainRequest") -> int:
    """Train, test or describe what a request means; returns the exit code."""
    from ldm.training.config import resolve_config

    composed = request.compose()
    config = resolve_config(composed.config)
    if request.dry_run:
        from rich.console import Console

        from ldm.training.dry_run import describe_dry_run

        report = describe_dry_run(config, request.gpus, missing_weights(config))
        Console(highlight=False, markup=False).print(report, soft_wrap=True)
        return 0
    from ldm.callbacks.checkpointing import RunInterruptedError
    from ldm.training.fit import TrainingRun

    run = TrainingRun(request, composed, config)
    if composed.checkpoint is None:
        load_start_weights(run.model, config.get("pretrained"))
    try:
        run.fit_and_test()
    except RunInterruptedError as stop:
        sys.stderr.write(f"main.py: {stop}; go on with: python main.py --resume {composed.run.path}\n")
        return INTERRUPTED
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run, and turn what a user can mend into one sentence and exit code 2."""
    return run_command(
        "main.py",
        lambda: train(make_request(sys.argv[1:] if argv is None else argv)),
        interrupted="stopped before training began.",
        level=logging.INFO if is_first_process() else logging.WARNING,  # once is enough
    )


if __name__ == "__main__":
    sys.exit(main())
