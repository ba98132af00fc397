"""Weights of a checkpoint into a model, widened where the model sees more, with a report.

Loading is all or nothing: what does not fit is said before the first weight is touched.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from commands.errors import UserError
from stable_diffusion.checkpoint import Checkpoint, Weights, open_checkpoint, select_weights
from stable_diffusion.diffusers_folder import FIRST_STAGE, UNET
from stable_diffusion.published_names import NAMED_BUFFERS, PARTS, TRAINING_ONLY, part_of
from stable_diffusion.recognise import describe_first_stage, describe_unet, recognise
from stable_diffusion.tensor_files import LazyTensor, LazyTensors, read_finite
from stable_diffusion.weights import resolve

log = logging.getLogger(__name__)

PART_NAMES = tuple(prefix.rstrip(".") for prefix in PARTS)
ENCODER = ("encoder.", "quant_conv.")  # the parts of an autoencoder that decide what its latents mean
ENCODER_TOLERANCE = 0.01  # relative change of a weight; half precision changes 0.0005
FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
LAST_CONVOLUTION = ("model.diffusion_model.out.2.weight", "model.diffusion_model.out.2.bias")
DESCRIPTION = "model.diffusion_model.describe."  # of a BlendingUNet with neighbours: what widened channels come from
VECTOR = tuple(f"model.diffusion_model.{part}." for part in ("label_emb", "vector_map", "foresight"))  # zero at first


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
