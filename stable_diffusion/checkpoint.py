"""Checkpoints of every kind, opened under our model's names and loaded with a report.

Kinds: .ckpt of Stable Diffusion, InstructPix2Pix and our runs, .safetensors, sharded sets, diffusers folders, and
single parts (an autoencoder, a U-Net, a text encoder). Loading is all or nothing: what does not fit is said before the
first weight is touched.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commands.errors import MissingFileError, UserError
from formats.run_folder import find_config
from ldm.modules.encoders.modules import has_tokenizer
from ldm.training.config import compose
from ldm.util import check_targets
from stable_diffusion import diffusers_layout as layout
from stable_diffusion.diffusers_configs import SOURCE_CHANNELS, heads_of_unet, schedule_of
from stable_diffusion.diffusers_folder import FIRST_STAGE, TEXT, UNET, find_weights, open_folder
from stable_diffusion.published_names import NAMED_BUFFERS, PARTS, TRAINING_ONLY, average_names, part_of
from stable_diffusion.recognise import (
    LATENT_SCALE,
    SD_SCHEDULE,
    check_plausible,
    describe_first_stage,
    describe_unet,
    first_stage_params,
    read_heads,
    recognise,
    run_params,
    schedule_of_words,
    text_params,
    unet_params,
)
from stable_diffusion.tensor_files import LazyTensor, LazyTensors, open_tensor_file, read_finite, under
from stable_diffusion.weights import resolve

log = logging.getLogger(__name__)

Weights = Literal["average", "raw"]
SAMPLING = {  # edit_cli.py of InstructPix2Pix
    "sampler": "euler_ancestral",
    "spacing": "linspace",
    "steps": 100,
    "text_scale": 7.5,
    "image_scale": 1.5,
}
RESOLUTION = 512
PART_NAMES = tuple(prefix.rstrip(".") for prefix in PARTS)
ENCODER = ("encoder.", "quant_conv.")  # the parts of an autoencoder that decide what its latents mean
ENCODER_TOLERANCE = 0.01  # relative change of a weight; half precision changes 0.0005
FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
LAST_CONVOLUTION = ("model.diffusion_model.out.2.weight", "model.diffusion_model.out.2.bias")
DESCRIPTION = "model.diffusion_model.describe."  # of a BlendingUNet with neighbours: what widened channels come from


VECTOR = tuple(f"model.diffusion_model.{part}." for part in ("label_emb", "vector_map", "foresight"))  # zero at first


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint under our names; the values are still in the file."""

    path: Path
    tensors: LazyTensors  # with averages and whatever else the file holds, under its own names
    unet_heads: int | None = None  # where the file says it
    text_heads: int | None = None
    schedule: dict[str, Any] = field(default_factory=lambda: dict(SD_SCHEDULE))

    def part(self, prefix: str) -> LazyTensors:
        """Tensors of one part, without its prefix."""
        return under(prefix, self.tensors)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded from where; names are our model's."""

    path: Path
    weights: Weights  # which weights of the U-Net: the moving average or those of the last step
    loaded: tuple[str, ...]
    widened: tuple[str, ...]
    missing: tuple[str, ...]  # named buffers only; anything else raises
    unexpected: tuple[str, ...]

    def by_part(self) -> dict[str, dict[str, int]]:
        """Counts of loaded, widened, missing and unexpected names in each part."""
        groups = ("loaded", "widened", "missing", "unexpected")
        counts = {group: Counter(part_of(name) for name in getattr(self, group)) for group in groups}
        return {label: {group: counts[group][prefix] for group in groups} for prefix, label in PARTS.items()}

    def __str__(self) -> str:
        parts = ", ".join(f"{label} {counts['loaded']}" for label, counts in self.by_part().items())
        return (
            f"{self.path}: loaded {len(self.loaded)} tensors ({parts}; {self.weights} weights), "
            f"widened {len(self.widened)}, missing {len(self.missing)}, unexpected {len(self.unexpected)}"
        )


def open_checkpoint(path: Path) -> Checkpoint:
    """A file or folder of any known kind.

    Raises:
        MissingFileError: if it, or a part of it, is absent.
        UserError: if it is damaged, holds code, or is something else.
    """
    path = Path(path)
    last = path / "checkpoints" / "last.ckpt"
    if path.is_dir() and last.is_file():
        return open_checkpoint(last)
    if path.is_dir() and (path / "config.json").is_file() and not (path / "model_index.json").is_file():
        return open_checkpoint(find_weights(path))  # one component, such as an autoencoder, in diffusers' layout
    if path.is_dir():
        folder = open_folder(path)
        scheduler = folder.configs.get("scheduler")
        return Checkpoint(
            path,
            folder.tensors,
            read_heads(heads_of_unet(folder.configs.get("unet", {})), path),
            read_heads(folder.configs.get("text_encoder", {}).get("num_attention_heads"), path),
            schedule_of_words(schedule_of(scheduler) if scheduler else {}, path),
        )
    file = open_tensor_file(path)
    heads = {key: read_heads(file.metadata[key], path) for key in ("unet_heads", "text_heads") if key in file.metadata}
    words = file.metadata if "parameterization" in file.metadata else run_params(path)
    return Checkpoint(path, _under_our_names(path, file.tensors), **heads, schedule=schedule_of_words(words, path))


def _under_our_names(path: Path, tensors: LazyTensors) -> LazyTensors:
    """Names of a single file as our model has them, whatever part or dialect the file holds."""
    named = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}  # of torch.compile
    if any(part_of(name) for name in named):
        return _with_whole_text_names(named)
    prefix, convert = _single_part(named)
    if convert is None:
        stranger = recognise(named)
        what, mend = stranger or (
            "no network that this project knows",
            "give a checkpoint of Stable Diffusion v1.5, InstructPix2Pix or one of this project's runs",
        )
        first = ", ".join(list(named)[:3])
        raise UserError(f"{path} is {what}; it begins with {first}. Mend: {mend}.")
    kept = {name: tensor for name, tensor in named.items() if not name.startswith(TRAINING_ONLY)}
    return {prefix + name: tensor for name, tensor in convert(kept).items()}


def _single_part(names: Mapping[str, Any]) -> tuple[str, Callable[[LazyTensors], LazyTensors] | None]:
    """Prefix and translation of a file that holds one part alone."""
    if recognise(names):
        return "", None
    if "input_blocks.0.0.weight" in names:
        return UNET, dict
    if "conv_in.weight" in names and "conv_norm_out.weight" in names:
        return UNET, layout.unet_from_diffusers
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in names:
        return FIRST_STAGE, layout.first_stage_from_diffusers
    if "encoder.down.0.block.0.conv1.weight" in names:
        return FIRST_STAGE, dict
    if any(name.endswith("embeddings.token_embedding.weight") for name in names):
        return TEXT, layout.text_from_transformers
    return "", None


def _with_whole_text_names(tensors: LazyTensors) -> LazyTensors:
    """Restores the `text_model.` that transformers >= 5.6 leaves out of CLIP's names."""
    clip = f"{TEXT}transformer."
    whole = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(clip)
        bare = name.startswith(clip) and short.startswith(("embeddings.", "encoder.layers.", "final_layer_norm."))
        whole[f"{clip}{layout.TEXT_PREFIX}{short}" if bare else name] = tensor
    return whole


def select_weights(checkpoint: Checkpoint, *, use_ema: bool) -> tuple[LazyTensors, Weights]:
    """The weights of the three parts, the U-Net's from the moving average where it is wanted and there.

    Raises:
        UserError: if some averages are missing.
    """
    parts = {name: t for name, t in checkpoint.tensors.items() if part_of(name)}
    if not use_ema:
        return parts, "raw"
    averaged = average_names((name for name in parts if name.startswith("model.")), checkpoint.tensors)
    if not averaged:
        return parts, "raw"
    return {name: checkpoint.tensors[averaged.get(name, name)] for name in parts}, "average"


def load_pretrained(
    model: nn.Module,
    path: Path | str,
    *,
    use_ema: bool,
    widen: bool = True,
    parts: Iterable[str] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> LoadReport:
    """Load a checkpoint into a LatentDiffusion; its own moving average starts again at the loaded weights.

    Args:
        model: has `model`, `first_stage_model`, `cond_stage_model`, `model_ema` (or None).
        path: file or folder.
        use_ema: take the checkpoint's moving average for the U-Net where it has one.
        widen: give the first convolution zero channels where the model has more (see `widen_first_convolution`), and
            the last one too; with neighbours, their description begins as the model has it.
        parts: which of model, first_stage_model, cond_stage_model to load; None loads all that the model has.
        progress: wraps the names, to show a bar.

    Raises:
        UserError: if the checkpoint does not fit, before any weight is touched, or holds NaN or Inf.
    """
    checkpoint = open_checkpoint(Path(path))
    source, weights = select_weights(checkpoint, use_ema=use_ema)
    parts = [name for name in PART_NAMES if hasattr(model, name)] if parts is None else parts
    prefixes = tuple(f"{name}." for name in parts)
    source = {name: tensor for name, tensor in source.items() if name.startswith(prefixes)}
    state = model.state_dict(keep_vars=True)
    targets = {name: value for name, value in state.items() if name.startswith(prefixes)}
    fitted, widened = _widen(source, targets) if widen else (source, ())
    missing = _check_fit(checkpoint, fitted, targets)
    loaded = [name for name in targets if name in fitted]
    with torch.no_grad():
        for name in progress(loaded):
            targets[name].copy_(read_finite(name, fitted[name], checkpoint.path))
    if getattr(model, "model_ema", None) is not None:
        model.model_ema.reset(model.model)
    strange = [n for n in source if n not in targets and n not in NAMED_BUFFERS and not n.startswith(TRAINING_ONLY)]
    report = LoadReport(checkpoint.path, weights, tuple(loaded), widened, missing, tuple(strange))
    if strange:
        log.warning("%s holds %d tensors that the model has not, first %s", path, len(strange), strange[0])
    return report


def load_first_stage(model: nn.Module, source: Path | str, *, trained: bool = True) -> LoadReport:
    """Put another autoencoder, such as one with a fine-tuned decoder, into a model.

    Args:
        model: has `first_stage_model`, of the file's shape.
        source: run of `ldm.models.first_stage_training`, an autoencoder alone or a whole model in any known layout, or
            the name of published weights, such as vae-ft-mse.
        trained: whether the model's network has learnt the latents of its present first stage; then another encoder
            is warned of.

    Raises:
        MissingFileError: if it is not on this machine.
        UserError: if it holds no first stage that fits the model's; nothing is touched then.
    """
    first_stage = model.first_stage_model
    if not first_stage.state_dict():
        raise UserError(f"{source}: the model's first stage, {type(first_stage).__name__}, has no weights to replace.")
    encoder = {name: p for name, p in first_stage.named_parameters() if name.startswith(ENCODER)}
    before = {name: p.detach().clone() for name, p in encoder.items()}
    report = load_pretrained(model, resolve(source), use_ema=False, widen=False, parts=["first_stage_model"])
    changes = [float((p.detach() - before[name]).norm() / (before[name].norm() + 1e-8)) for name, p in encoder.items()]
    if trained and max(changes, default=0.0) > ENCODER_TOLERANCE:
        log.warning(
            "%s has another encoder than the model's first stage (a weight differs by %.0f %%): a diffusion model that "
            "was trained on the old latents has to be trained on the new ones.",
            report.path,
            100 * max(changes),
        )
    return report


def _widen(source: LazyTensors, targets: Mapping[str, Tensor]) -> tuple[LazyTensors, tuple[str, ...]]:
    """The source with room in the first convolution for what the model sees beside it, in the last for what it adds."""
    widened: LazyTensors = {}
    name = FIRST_CONVOLUTION
    if name in source and name in targets and len(source[name].shape) == 4:
        wanted = targets[name].shape[1]
        if source[name].shape[1] != wanted:
            widened[name] = source[name].map(lambda weight: widen_first_convolution(weight, wanted))
    described = [name for name in targets if name.startswith(DESCRIPTION) and name not in source]
    if described:  # trained without neighbours
        widened |= {name: LazyTensor.of(targets[name].detach()) for name in described}
        for name in LAST_CONVOLUTION:
            if name in source:
                widened[name] = source[name].map(partial(append_rows, rows=len(targets[name])))
    if FIRST_CONVOLUTION in source:
        for part in VECTOR:  # trained without a vector: its parts start as they are, and reach the output through zeros
            if not any(name.startswith(part) for name in source):
                widened |= {
                    name: LazyTensor.of(value.detach()) for name, value in targets.items() if name.startswith(part)
                }
    return {**source, **widened}, tuple(widened)


def append_rows(weight: Tensor, rows: int) -> Tensor:
    """A weight or a bias (C_out, ...) with zero rows after its own, `rows` in all; as it is where it has as many."""
    return torch.cat([weight, weight.new_zeros(max(0, rows - len(weight)), *weight.shape[1:])])


def widen_first_convolution(weight: Tensor, in_channels: int) -> Tensor:
    """The same convolution with more input channels; the new ones are ignored until training changes that.

    Args:
        weight: (C_out, C_in, k, k).
        in_channels: wanted C_in; where it is the present one, the weight is returned as it is.

    Raises:
        UserError: if channels would be lost.
    """
    present = weight.shape[1]
    if in_channels == present:
        return weight
    if in_channels < present:
        raise UserError(
            f"the checkpoint's first convolution sees {present} channels, the model's {in_channels}: narrowing would "
            f"throw away what the network learnt about the source frame. Set unet_config.params.in_channels: {present}."
        )
    new = weight.new_zeros(weight.shape[0], in_channels - present, *weight.shape[2:])
    return torch.cat([weight, new], dim=1)


def _check_fit(checkpoint: Checkpoint, source: LazyTensors, targets: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of buffers that the source lacks.

    Raises:
        UserError: if a weight is missing or has another shape.
    """
    lost = [name for name in targets if name not in source]
    missing = tuple(name for name in lost if name in NAMED_BUFFERS)
    wanted = [name for name in lost if name not in NAMED_BUFFERS]
    wrong = [name for name in targets if name in source and tuple(targets[name].shape) != source[name].shape]
    if not wanted and not wrong:
        return missing
    if wrong:
        first, num = wrong[0], len(wrong)
        found = f"{first} is {source[first].shape} in the file and {tuple(targets[first].shape)} in the model"
        trouble = f"{num} of {len(targets)} tensors have another shape: {found}"
    else:
        trouble = f"{len(wanted)} of {len(targets)} tensors are missing, first {wanted[0]}"
    parts = {prefix for prefix in map(part_of, targets) if prefix}
    raise UserError(f"{checkpoint.path} does not fit this model: {trouble}. {_looks_like(checkpoint, parts)}")


def _looks_like(checkpoint: Checkpoint, wanted: set[str]) -> str:
    """What to tell a user whose checkpoint does not fit the `wanted` parts (prefixes of PARTS)."""
    stranger = recognise(checkpoint.tensors)
    if stranger:
        return f"The file looks like {stranger[0]}: {stranger[1]}."
    held = {prefix for prefix in map(part_of, checkpoint.tensors) if prefix}
    if not wanted <= held:
        labels = sorted(PARTS[prefix] for prefix in held)
        needed = " and ".join(PARTS[prefix] for prefix in PARTS if prefix in wanted - held)
        whole = "a whole model, or load this part" if len(wanted) > 1 else f"one with the {needed}"
        return f"The file holds only: {', '.join(labels) or 'none of the parts'}; give {whole}."
    unet, first_stage = checkpoint.part(UNET), checkpoint.part(FIRST_STAGE)
    if wanted == {FIRST_STAGE}:
        known = "encoder.conv_in.weight" in first_stage
        described = describe_first_stage(first_stage) if known else "a first stage of another kind"
    else:
        described = describe_unet(unet) if "input_blocks.0.0.weight" in unet else "a U-Net of another kind"
    return f"The file looks like {described}: use the config that it was made with, or another checkpoint."


def read_config(checkpoint: Path, path: Path | None = None, *, trusted: bool = False) -> tuple[dict[str, Any], Path]:
    """The config of a checkpoint, and where it is from.

    Args:
        checkpoint: file or folder.
        path: config that the user names, who vouches for it; None looks beside the checkpoint.
        trusted: the one beside the checkpoint may name any class.

    Raises:
        MissingFileError: if there is no checkpoint.
        UserError: if the config names a class of another project, or is damaged.
    """
    if not checkpoint.exists():
        raise MissingFileError(
            f"there is no checkpoint {checkpoint}; train one (python main.py --base configs/train.yaml --gpus 0), "
            "fetch one (python -m stable_diffusion.weights list), or leave --ckpt out for the bundled model."
        )
    found = path or find_config(checkpoint)
    config = dict(compose([found]) if found else suggest_config(checkpoint))
    check_targets(config, trusted=trusted or path is not None, where=str(found or checkpoint))
    return config, found or checkpoint


def for_prediction(node: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a LatentDiffusion without what only training needs: the second U-Net of averages and image losses.

    Loading takes a checkpoint's averages into the U-Net itself.
    """
    params = {name: value for name, value in node["params"].items() if name != "frame_loss_config"}
    return {**node, "params": params | {"use_ema": False}}


def why_not_whole(checkpoint: Checkpoint) -> str | None:
    """What a checkpoint is instead of a whole Stable Diffusion v1, such as `holds no U-Net`; None where it is one."""
    if stranger := recognise(checkpoint.tensors):
        return f"looks like {stranger[0]}: {stranger[1]}"
    absent = [label for prefix, label in PARTS.items() if not any(n.startswith(prefix) for n in checkpoint.tensors)]
    return f"holds no {' and no '.join(absent)}" if absent else None


def suggest_config(path: Path) -> dict[str, Any]:
    """A config for predicting with a checkpoint that comes without one, from its names and shapes.

    Raises:
        UserError: if the checkpoint cannot predict from a frame, or is not Stable Diffusion v1.
    """
    checkpoint = open_checkpoint(Path(path))
    if lack := why_not_whole(checkpoint):
        raise UserError(f"{path} {lack}. Give --config, or a checkpoint of InstructPix2Pix.")
    unet = unet_params(checkpoint.part(UNET), checkpoint.unet_heads)
    check_plausible(path, "U-Net", checkpoint.part(UNET), unet)
    if unet["in_channels"] < SOURCE_CHANNELS:
        raise UserError(
            f"{path} does not see a frame (its U-Net has {unet['in_channels']} input channels): it makes pictures from "
            f"words alone. Fine-tune it first: python main.py --base configs/train.yaml pretrained.path={path}"
        )
    tower = text_params(checkpoint.part(TEXT), checkpoint.text_heads)
    check_plausible(path, "text encoder", checkpoint.part(TEXT), tower)
    tokenizer = checkpoint.path / "tokenizer"
    if has_tokenizer(tokenizer):
        tower["version"] = str(tokenizer)
    first_stage = first_stage_params(checkpoint.part(FIRST_STAGE))
    check_plausible(path, "first stage", checkpoint.part(FIRST_STAGE), first_stage)
    kind = "VQModel" if "n_embed" in first_stage else "AutoencoderKL"
    params = {
        **checkpoint.schedule,
        "learning_rate": 1e-4,
        "scale_factor": LATENT_SCALE,
        "conditioning_dropout": 0.05,
        "use_ema": False,
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": unet},
        "first_stage_config": {"target": f"ldm.models.autoencoder.{kind}", "params": first_stage},
        "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder", "params": tower},
    }
    model = {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}
    return {"model": model, "sampling": dict(SAMPLING), "resolution": RESOLUTION}
