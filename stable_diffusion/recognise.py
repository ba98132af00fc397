"""What a set of weights is, from names and shapes alone: its configs, what a stranger looks like, its schedule.

Names here are latent-diffusion's, without the part's prefix. The number of attention heads is in no weight; it comes
from the caller, or from SD v1's and v2's habits. Nor is the noise schedule: it is read from the config.yaml of the run
that a file lies in, or from the words that `convert` wrote.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from commands.errors import UserError
from formats.atomic import read_file
from formats.run_folder import find_config
from stable_diffusion.diffusers_layout import first_stage_levels, unet_levels
from stable_diffusion.tensor_files import LazyTensors

SD_V1_WIDTH, SD_V1_HEADS = 320, 8
SD_V2_HEAD_CHANNELS = 64
MAX_TIMESTEPS = 100_000  # of a schedule that a file declares
MAX_CONFIG = 1 << 20  # bytes of a config.yaml beside weights; ours have 5 kB
CLIP_HEAD_CHANNELS = 64  # of CLIP ViT-L/14 and ViT-H/14
SD_SCHEDULE = {"timesteps": 1000, "linear_start": 0.00085, "linear_end": 0.012, "parameterization": "eps"}
LATENT_SCALE = 0.18215  # brings SD latents to unit variance; v1-inference.yaml

INSTEAD = "give Stable Diffusion v1.5 or InstructPix2Pix"
STRANGERS = (  # what a part of a name begins with, what the file is, what to do
    (("lora_",), "a LoRA (low-rank additions, not a model)", "merge it into its base model first and give the result"),
    (("control_model.", "controlnet_cond_embedding."), "a ControlNet", INSTEAD),
    (("conditioner.embedders.", "label_emb.", "add_embedding."), "Stable Diffusion XL", INSTEAD),
    (("joint_blocks.",), "Stable Diffusion 3", INSTEAD),
    (("double_blocks.",), "Flux", INSTEAD),
    (("string_to_param", "emb_params"), "a textual inversion embedding", "give the model that it belongs to"),
    (
        ("cond_stage_model.model.",),
        "Stable Diffusion v2 (its text encoder is OpenCLIP's)",
        "use a config with FrozenOpenCLIPEmbedder, context_dim: 1024, num_head_channels: 64 and "
        "use_linear_in_transformer: true, or a checkpoint of Stable Diffusion v1.5",
    ),
)


def recognise(names: Iterable[str]) -> tuple[str, str] | None:
    """(what it is, what to use) of weights that are no Stable Diffusion v1; None where nothing speaks against it."""
    dotted = [f".{name}" for name in names]
    for marks, what, mend in STRANGERS:
        if any(f".{mark}" in name for mark in marks for name in dotted):
            return what, mend
    return None


def describe_unet(tensors: LazyTensors) -> str:
    """One line about a U-Net: input channels, width, text width."""
    first = tensors["input_blocks.0.0.weight"].shape
    context = context_dim(tensors)
    known = {768: "Stable Diffusion v1", 1024: "Stable Diffusion v2", 2048: "Stable Diffusion XL"}
    family = (
        known.get(context or 0, "a U-Net of another size") if first[0] == SD_V1_WIDTH else "a U-Net of another size"
    )
    return f"{family} ({first[1]} input channels, width {first[0]}, text width {context})"


def describe_first_stage(tensors: LazyTensors) -> str:
    """One line about an autoencoder: width, levels, latent channels."""
    params = first_stage_params(tensors)
    shape = params["ddconfig"]
    kind = "a VQModel" if "n_embed" in params else "an AutoencoderKL"
    return f"{kind} (ch {shape['ch']}, ch_mult {shape['ch_mult']}, {params['embed_dim']} latent channels)"


def context_dim(tensors: LazyTensors) -> int | None:
    """Channels of the text that a U-Net attends to."""
    ends = (".attn2.to_k.weight",)
    return next((t.shape[1] for name, t in tensors.items() if name.endswith(ends)), None)


def unet_params(tensors: LazyTensors, num_heads: int | None = None) -> dict[str, Any]:
    """Parameters of UNetModel for a U-Net's weights.

    Raises:
        UserError: if the number of heads is neither given nor known.
    """
    levels = unet_levels(tensors)
    width, in_channels = tensors["input_blocks.0.0.weight"].shape[:2]
    firsts = [1 + level * (levels.num_res_blocks + 1) for level in range(levels.num_levels)]
    widths = [tensors[f"input_blocks.{i}.0.in_layers.2.weight"].shape[0] for i in firsts]
    linear = any(name.endswith("1.proj_in.weight") and len(t.shape) == 2 for name, t in tensors.items())
    params: dict[str, Any] = {
        "in_channels": in_channels,
        "out_channels": tensors["out.2.weight"].shape[0],
        "model_channels": width,
        "num_res_blocks": levels.num_res_blocks,
        "attention_resolutions": [2**level for level, attends in enumerate(levels.attended) if attends],
        "channel_mult": [w // width for w in widths],
        "context_dim": context_dim(tensors),
        "transformer_depth": sum(
            name.startswith("middle_block.1.") and name.endswith("norm1.weight") for name in tensors
        ),
        "use_linear_in_transformer": linear,
    }
    if num_heads is None and linear:
        return {**params, "num_head_channels": SD_V2_HEAD_CHANNELS}
    if num_heads is None and width != SD_V1_WIDTH:
        raise UserError(
            f"the number of attention heads is not in the weights, and this U-Net (width {width}) is not Stable "
            "Diffusion's: give it with --num-heads, or the model's config."
        )
    return {**params, "num_heads": num_heads or SD_V1_HEADS}


def first_stage_params(tensors: LazyTensors) -> dict[str, Any]:
    """Parameters of AutoencoderKL (or VQModel, where there is a codebook) for an autoencoder's weights."""
    levels = first_stage_levels(tensors)
    width, in_channels = tensors["encoder.conv_in.weight"].shape[:2]
    widths = [tensors[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels.num_levels)]
    quantized = "quantize.embedding.weight" in tensors
    ddconfig = {
        "double_z": not quantized,
        "z_channels": tensors["decoder.conv_in.weight"].shape[1],
        "resolution": 256,
        "in_channels": in_channels,
        "out_ch": tensors["decoder.conv_out.weight"].shape[0],
        "ch": width,
        "ch_mult": [w // width for w in widths],
        "num_res_blocks": levels.num_res_blocks,
        "attn_resolutions": [
            256 // 2**i for i in range(levels.num_levels) if f"encoder.down.{i}.attn.0.q.weight" in tensors
        ],
        "dropout": 0.0,
    }
    params = {"ddconfig": ddconfig, "embed_dim": tensors["post_quant_conv.weight"].shape[1]}
    return {**params, "n_embed": tensors["quantize.embedding.weight"].shape[0]} if quantized else params


def text_params(tensors: LazyTensors, num_heads: int | None = None) -> dict[str, Any]:
    """Parameters of FrozenCLIPEmbedder for the weights of CLIP's text tower (`transformer.text_model.*`)."""
    tower = "transformer.text_model."
    vocabulary, width = tensors[f"{tower}embeddings.token_embedding.weight"].shape
    layers = sum(name.endswith(".layer_norm1.weight") for name in tensors)
    return {
        "max_length": tensors[f"{tower}embeddings.position_embedding.weight"].shape[0],
        "width": width,
        "layers": layers,
        "heads": num_heads or max(1, width // CLIP_HEAD_CHANNELS),
        "intermediate": tensors[f"{tower}encoder.layers.0.mlp.fc1.weight"].shape[0],
        "vocabulary": vocabulary,
    }


def read_heads(value: Any, where: Path) -> int | None:
    """Number of attention heads as a file declares it; None stays None.

    Raises:
        UserError: if it is no number of heads.
    """
    if value is None or (isinstance(value, int | str) and re.fullmatch(r"[1-9]\d{0,3}", str(value))):
        return value if value is None else int(value)
    raise UserError(
        f"{where} declares {str(value)[:80]!r} attention heads; wanted 1 to 9999: mend it or convert again."
    )


def check_plausible(where: Path, part: str, tensors: LazyTensors, params: Mapping[str, Any]) -> None:
    """Refuse parameters, read from shapes, of a network far larger than the weights that they were read from.

    Raises:
        UserError: before such a network would be built.
    """
    held = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if "model_channels" in params:
        least = 9 * (params["model_channels"] * max(params["channel_mult"])) ** 2  # one convolution of the widest level
    elif "ddconfig" in params:
        least = 9 * (params["ddconfig"]["ch"] * max(params["ddconfig"]["ch_mult"])) ** 2
    else:
        least = params["width"] * (4 * params["width"] + 2 * params["intermediate"]) * params["layers"]
    if least > held or any(0 in tensor.shape for tensor in tensors.values()):
        raise UserError(
            f"{where}: the shapes of the {part} declare a network of at least {least:,} weights, and {held:,} are "
            "there: damaged, or made to fill the memory. Take another file."
        )


def _parameterization(value: Any) -> str:
    if value not in ("eps", "x0", "v"):
        raise UserError(f"'{value}' is not one of eps, x0, v")
    return value


def _whole_number(value: Any) -> int:
    if not 1 <= int(value) <= MAX_TIMESTEPS:
        raise UserError(f"wanted 1 to {MAX_TIMESTEPS}")
    return int(value)


def _rate(value: Any) -> float:
    if not 0.0 <= float(value) < 1.0:
        raise UserError("wanted a number from 0 to below 1")
    return float(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "timesteps": _whole_number,
    "linear_start": _rate,
    "linear_end": _rate,
    "parameterization": _parameterization,
    "terminal_signal": _rate,  # this project's own: see NoiseSchedule
    "predict_change": lambda value: str(value).lower() == "true",  # this project's own: see LatentDiffusion
}


def run_params(path: Path) -> dict[str, Any]:
    """model.params of the config.yaml of the run that a checkpoint lies in; empty where there is none.

    Raises:
        UserError: if the config is damaged.
    """
    config = find_config(path)
    if config is None:
        return {}
    try:
        content = yaml.safe_load(read_file(config, MAX_CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{config}, beside {path.name}, is not YAML ({first}): mend it or move it.") from error
    try:
        return dict(content["model"]["params"])
    except (KeyError, TypeError, ValueError):
        return {}


def schedule_of_words(words: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Schedule by a config's parameters or a file's metadata; Stable Diffusion's for what they do not say.

    `terminal_signal` and `predict_change` are there only where they are set.

    Raises:
        UserError: if a value is none of its kind.
    """
    schedule: dict[str, Any] = dict(SD_SCHEDULE)
    for key, read in _READ.items():
        if words.get(key) is None:
            continue
        try:
            schedule[key] = read(words[key])
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"the schedule of {where} cannot be read, {key} is '{str(words[key])[:80]}' ({error}): write a plain "
                "value into the config.yaml beside it, or convert it again."
            ) from error
    if not schedule.get("predict_change"):
        schedule.pop("predict_change", None)
    return schedule
