"""Checkpoints of every kind, opened under our model's names; the values stay in the file until they are loaded.

Kinds: .ckpt of Stable Diffusion, InstructPix2Pix and our runs, .safetensors, sharded sets, diffusers folders, and
single parts (an autoencoder, a U-Net, a text encoder).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from commands.errors import UserError
from stable_diffusion import diffusers_layout as layout
from stable_diffusion.diffusers_configs import heads_of_unet, schedule_of
from stable_diffusion.diffusers_folder import FIRST_STAGE, TEXT, UNET, find_weights, open_folder
from stable_diffusion.published_names import PARTS, TRAINING_ONLY, average_names, part_of
from stable_diffusion.recognise import SD_SCHEDULE, read_heads, recognise, run_params, schedule_of_words
from stable_diffusion.tensor_files import LazyTensors, open_tensor_file, under

Weights = Literal["average", "raw"]


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


def why_not_whole(checkpoint: Checkpoint) -> str | None:
    """What a checkpoint is instead of a whole Stable Diffusion v1, such as `holds no U-Net`; None where it is one."""
    if stranger := recognise(checkpoint.tensors):
        return f"looks like {stranger[0]}: {stranger[1]}"
    absent = [label for prefix, label in PARTS.items() if not any(n.startswith(prefix) for n in checkpoint.tensors)]
    return f"holds no {' and no '.join(absent)}" if absent else None
