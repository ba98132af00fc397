"""Which keys a config has and which values they take: what a run would refuse later is refused before it begins.

Parameters of `target` nodes are checked by ldm.util against the constructors that take them.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from commands.errors import UserError
from ldm.util import check_config, nearest_name

TOP_LEVEL = (
    "seed", "resolution", "horizon", "horizon_range", "seconds", "seconds_range", "instruction_template", "prepare",
    "neighbours", "pretrained", "model", "data", "sampling", "lightning",
)  # fmt: skip
SAMPLING = ("steps", "text_scale", "image_scale", "eta", "spacing", "sampler", "rescale", "interval")  # SamplingOptions
PRETRAINED = ("name", "path", "use_ema", "widen", "first_stage", "picture")
LIGHTNING = ("trainer", "checkpoint", "loggers", "callbacks")
CHECKPOINT = ("every_n_steps", "monitor", "keep_epochs")
TRAINER = (  # what Lightning's Trainer takes from a config or as a flag; a test compares it with Lightning
    "accelerator strategy devices num_nodes precision fast_dev_run max_epochs min_epochs max_steps min_steps max_time "
    "limit_train_batches limit_val_batches limit_test_batches limit_predict_batches overfit_batches val_check_interval "
    "check_val_every_n_epoch num_sanity_val_steps log_every_n_steps enable_checkpointing enable_progress_bar "
    "enable_model_summary accumulate_grad_batches gradient_clip_val gradient_clip_algorithm deterministic benchmark "
    "inference_mode use_distributed_sampler profiler detect_anomaly barebones sync_batchnorm "
    "reload_dataloaders_every_n_epochs default_root_dir enable_autolog_hparams"
)
TRAINER_FLAGS = tuple(TRAINER.split())
KNOWN = {  # section -> its keys
    "": TOP_LEVEL,
    "pretrained": PRETRAINED,
    "sampling": SAMPLING,
    "lightning": LIGHTNING,
    "lightning.trainer": TRAINER_FLAGS,
    "lightning.checkpoint": CHECKPOINT,
}
PRECISIONS = ("16-mixed", "bf16-mixed", "32-true", "64-true", "16-true", "bf16-true", "16", "bf16", "32", "64")

OTHERS_TARGETS = {  # ending of a module of the original InstructPix2Pix code -> ours
    "ddpm_edit": "ldm.models.diffusion.ddpm.LatentDiffusion",
    "edit_dataset": "ldm.data.frame_pairs.FramePairDataset",
}
OTHERS_KEYS = {  # a key of the papers' configs, as a pattern of its place -> what it is called here
    r"(.*\.)?image_size": "resolution",
    r"(.*\.)?crop_res": "resolution (a random crop: ...augmentation_config.params.crop)",
    r"(.*\.)?(min|max)_resize_res": "resolution",
    r"data\.params\.\w+\.params\.path": "data.params.<split>.params.folder",
    r"(.*\.)?flip_prob": "...augmentation_config.params.flip",
    r"model\.base_learning_rate": "model.params.learning_rate",
    r"model\.params\.ckpt_path": "pretrained.path",
}


def check_names(config: Mapping) -> None:
    """Refuse a key that no section of a config has.

    Raises:
        UserError: names the key, the nearest right one and the list; a config of the original code is told our names.
    """
    _refuse_the_originals(config)
    for section, known in KNOWN.items():
        node = find(config, section)
        if node is None:
            continue
        if not isinstance(node, Mapping):
            raise UserError(f"{section}: wanted a mapping with {', '.join(known)}, got {node!r}.")
        for key in node:
            if key not in known:
                place, what = (f"{section}.{key}", "key") if section else (str(key), "section")
                hint = nearest_name(str(key), list(known))
                raise UserError(f"{place}: no such {what}{hint} {section or 'A config'} has: {', '.join(known)}.")


def find(config: Mapping, path: str) -> Any:
    """Value under a dotted path, None where there is none; the config itself under an empty path."""
    node: Any = config
    for part in path.split(".") if path else ():
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _refuse_the_originals(config: Mapping) -> None:
    """Answer a config of the original InstructPix2Pix code, as the papers print it, with our names."""
    found = {}
    places: list[tuple[str, Any]] = [("", config)]
    while places:
        place, node = places.pop()
        if not isinstance(node, Mapping):
            continue
        for key, value in node.items():
            path = f"{place}.{key}" if place else str(key)
            places.append((path, value))
            if key == "target" and isinstance(value, str):
                found.update((f"{path} {value}", ours) for end, ours in OTHERS_TARGETS.items() if f"{end}." in value)
            found.update((path, ours) for pattern, ours in OTHERS_KEYS.items() if re.fullmatch(pattern, path))
    if found:
        said = "; ".join(f"{theirs} is {ours} here" for theirs, ours in found.items())
        raise UserError(
            f"the config is written for the original InstructPix2Pix code: {said}. Begin with configs/train.yaml, "
            "which has all of them."
        )


def check_values(config: Mapping) -> None:
    """Refuse values that would stop a run, or be ignored, after it began.

    Args:
        config: whole and resolved.

    Raises:
        UserError: names the place, the value and what is wanted.
    """
    for rule in RULES:
        for place in rule.places.split():
            value = find(config, place)
            if value is not None and not rule.holds(value):
                raise UserError(f"{place}: {value!r}; wanted {rule.wanted}.")
    if find(config, "lightning.checkpoint.every_n_steps") is None:
        raise UserError("lightning.checkpoint.every_n_steps: not given; wanted optimiser steps, such as 500.")
    for name in find(config, "lightning.loggers") or []:
        if name not in ("csv", "wandb"):
            raise UserError(f"lightning.loggers: '{name}' is not one of csv, wandb.")
    for name, node in (find(config, "lightning.callbacks") or {}).items():
        if node is not None:
            check_config(node, f"lightning.callbacks.{name}", ("folder",) if name == "image_logger" else ())


def is_whole_number(least: int) -> Callable[[Any], bool]:
    """Whether a value is a whole number of at least `least`."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, not below 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


class Rule(NamedTuple):
    """What the values under some places of a config must be."""

    holds: Callable[[Any], bool]
    wanted: str
    places: str  # dotted, separated by blanks


RULES = (
    Rule(
        is_whole_number(1),
        "a whole number from 1 on",
        "resolution horizon sampling.steps data.params.batch_size lightning.checkpoint.every_n_steps "
        "lightning.trainer.accumulate_grad_batches lightning.trainer.check_val_every_n_epoch "
        "lightning.trainer.num_nodes lightning.callbacks.image_logger.params.every_n_steps "
        "lightning.callbacks.throughput.params.every_n_steps lightning.callbacks.gpu_stats.params.every_n_steps "
        "lightning.callbacks.smoothed_loss.params.window",
    ),
    Rule(
        is_whole_number(0),
        "a whole number from 0 on",
        "seed lightning.trainer.log_every_n_steps lightning.trainer.min_epochs lightning.trainer.min_steps",
    ),
    Rule(
        is_whole_number(-1),
        "a whole number, or -1 for no end",
        "lightning.trainer.max_epochs lightning.trainer.max_steps lightning.trainer.num_sanity_val_steps",
    ),
    Rule(lambda value: is_number(value) and value > 0, "a number above 0", "seconds"),
    Rule(
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_number, value)),
        "the least and the greatest number of seconds, such as [0.2, 6.0]",
        "seconds_range",
    ),
    Rule(
        is_number,
        "a number from 0 on",
        "model.params.learning_rate model.params.weight_decay model.params.lambda_simple sampling.text_scale "
        "sampling.image_scale lightning.trainer.gradient_clip_val",
    ),
    Rule(lambda value: str(value) in PRECISIONS, f"one of {', '.join(PRECISIONS)}", "lightning.trainer.precision"),
    Rule(lambda value: isinstance(value, bool), "true or false", "pretrained.use_ema pretrained.widen"),
    Rule(
        lambda value: isinstance(value, str),
        "text",
        "prepare pretrained.name pretrained.path pretrained.first_stage pretrained.picture "
        "lightning.checkpoint.monitor",
    ),
    Rule(
        lambda value: isinstance(value, list) and all(is_whole_number(1)(one) for one in value),
        "a list of whole numbers, such as [10, 50]",
        "lightning.checkpoint.keep_epochs horizon_range",
    ),
    Rule(lambda value: isinstance(value, list), "a list", "lightning.loggers"),
    Rule(lambda value: isinstance(value, Mapping), "a mapping", "lightning.callbacks model.params data.params"),
)
