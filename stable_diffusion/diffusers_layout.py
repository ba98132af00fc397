"""Names and shapes: latent-diffusion's <-> diffusers', for U-Net, first stage and CLIP's text tower, both ways.

Works on any depth and width: what a network looks like is read from its names. A name that the map does not know is an
error, never dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

from commands.errors import UserError
from stable_diffusion.tensor_files import LazyTensors

RESIDUAL = {  # of the U-Net
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
CODER_RESIDUAL = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
CODER_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_CODER_ATTENTION = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}  # diffusers before 0.15
TEXT_PREFIX = "text_model."  # absent in files of transformers >= 5.6
TEXT_DROPPED = ("embeddings.position_ids",)


@dataclass(frozen=True)
class Levels:
    """What the names of a U-Net or a coder say about its shape."""

    num_levels: int
    num_res_blocks: int
    attended: tuple[bool, ...] = ()  # levels with transformers, from full resolution down; U-Net only


def _numbers(names: Iterable[str], before: str, after: str = "") -> list[int]:
    """Sorted numbers n of names that begin with `before` + n + "." + `after`."""
    found = set()
    for name in names:
        if name.startswith(before):
            number, _, rest = name[len(before) :].partition(".")
            if number.isdigit() and rest.startswith(after):
                found.add(int(number))
    return sorted(found)


def unet_levels(names: Iterable[str]) -> Levels:
    """Shape of a U-Net with latent-diffusion's names."""
    names = set(names)
    blocks, halvings = _numbers(names, "input_blocks."), _numbers(names, "input_blocks.", "0.op.")
    if not blocks:
        raise UserError("no input_blocks.* among the names: this is no U-Net of latent-diffusion.")
    num_levels = len(halvings) + 1
    num_res_blocks = (halvings[0] if halvings else blocks[-1] + 1) - 1
    firsts = [1 + level * (num_res_blocks + 1) for level in range(num_levels)]
    return Levels(num_levels, num_res_blocks, tuple(f"input_blocks.{i}.1.norm.weight" in names for i in firsts))


def diffusers_unet_levels(names: Iterable[str]) -> Levels:
    """Shape of a U-Net with diffusers' names."""
    names = set(names)
    levels, blocks = _numbers(names, "down_blocks."), _numbers(names, "down_blocks.0.resnets.")
    if not levels or not blocks:
        raise UserError("no down_blocks.*.resnets.* among the names: this is no U-Net of diffusers.")
    attended = tuple(f"down_blocks.{level}.attentions.0.norm.weight" in names for level in levels)
    return Levels(len(levels), len(blocks), attended)


def unet_modules(shape: Levels) -> dict[str, str]:
    """Module of latent-diffusion's U-Net => module of diffusers'."""
    made = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "middle_block.1": "mid_block.attentions.0",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    residuals = {"middle_block.0": "mid_block.resnets.0", "middle_block.2": "mid_block.resnets.1"}
    last = shape.num_levels - 1
    for level in range(shape.num_levels):
        first = 1 + level * (shape.num_res_blocks + 1)
        for j in range(shape.num_res_blocks):
            residuals[f"input_blocks.{first + j}.0"] = f"down_blocks.{level}.resnets.{j}"
            made[f"input_blocks.{first + j}.1"] = f"down_blocks.{level}.attentions.{j}"
        if level < last:
            made[f"input_blocks.{first + shape.num_res_blocks}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        rising = last - level  # diffusers counts the ascending blocks from the bottom
        for j in range(shape.num_res_blocks + 1):
            block = f"output_blocks.{rising * (shape.num_res_blocks + 1) + j}"
            residuals[f"{block}.0"] = f"up_blocks.{rising}.resnets.{j}"
            if shape.attended[level]:
                made[f"{block}.1"] = f"up_blocks.{rising}.attentions.{j}"
            if level > 0 and j == shape.num_res_blocks:
                place = 2 if shape.attended[level] else 1
                made[f"{block}.{place}.conv"] = f"up_blocks.{rising}.upsamplers.0.conv"
    for ours, theirs in residuals.items():
        made.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in RESIDUAL.items()})
    return made


def first_stage_levels(names: Iterable[str]) -> Levels:
    """Shape of an autoencoder, with either naming."""
    names = list(names)
    for levels, blocks in (
        ("encoder.down.", "encoder.down.0.block."),
        ("encoder.down_blocks.", "encoder.down_blocks.0.resnets."),
    ):
        found = _numbers(names, levels)
        if found:
            return Levels(len(found), len(_numbers(names, blocks)))
    raise UserError("no encoder.down.* or encoder.down_blocks.* among the names: this is no autoencoder.")


def first_stage_modules(shape: Levels) -> dict[str, str]:
    """Module of latent-diffusion's autoencoder => module of diffusers'."""
    same = (
        "encoder.conv_in",
        "encoder.conv_out",
        "decoder.conv_in",
        "decoder.conv_out",
        "quant_conv",
        "post_quant_conv",
    )
    made = {name: name for name in same}
    residuals = {}
    last = shape.num_levels - 1
    for side in ("encoder", "decoder"):
        made[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        residuals[f"{side}.mid.block_1"] = f"{side}.mid_block.resnets.0"
        residuals[f"{side}.mid.block_2"] = f"{side}.mid_block.resnets.1"
        made.update(
            {f"{side}.mid.attn_1.{a}": f"{side}.mid_block.attentions.0.{b}" for a, b in CODER_ATTENTION.items()}
        )
    for level in range(shape.num_levels):
        rising = last - level
        for j in range(shape.num_res_blocks):
            residuals[f"encoder.down.{level}.block.{j}"] = f"encoder.down_blocks.{level}.resnets.{j}"
        for j in range(shape.num_res_blocks + 1):
            residuals[f"decoder.up.{level}.block.{j}"] = f"decoder.up_blocks.{rising}.resnets.{j}"
        if level < last:
            made[f"encoder.down.{level}.downsample.conv"] = f"encoder.down_blocks.{level}.downsamplers.0.conv"
        if level > 0:
            made[f"decoder.up.{level}.upsample.conv"] = f"decoder.up_blocks.{rising}.upsamplers.0.conv"
    for ours, theirs in residuals.items():
        made.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in CODER_RESIDUAL.items()})
    return made


def _rename(tensors: LazyTensors, modules: dict[str, str], what: str) -> LazyTensors:
    """Tensors with the module part of each name replaced; the longest known module counts."""
    renamed, unknown = {}, []
    for name, tensor in tensors.items():
        module = name
        while module and module not in modules:
            module = module.rpartition(".")[0]
        if module:
            renamed[modules[module] + name[len(module) :]] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"the {what} has {len(unknown)} names that Stable Diffusion's has not, first {unknown[0]}.")
    return renamed


def unet_to_diffusers(tensors: LazyTensors) -> LazyTensors:
    """U-Net under latent-diffusion's names (without `model.diffusion_model.`) => under diffusers'."""
    return _rename(tensors, unet_modules(unet_levels(tensors)), "U-Net")


def unet_from_diffusers(tensors: LazyTensors) -> LazyTensors:
    """U-Net under diffusers' names => under latent-diffusion's."""
    modules = unet_modules(diffusers_unet_levels(tensors))
    return _rename(tensors, {theirs: ours for ours, theirs in modules.items()}, "U-Net")


def _is_coder_attention(name: str) -> bool:
    """Whether a weight is a 1x1 convolution in latent-diffusion and a linear layer in diffusers."""
    return ".attn_1." in name and name.endswith(".weight") and ".norm." not in name


def _as_linear(weight: Tensor) -> Tensor:
    return rearrange(weight, "o i 1 1 -> o i")


def _as_convolution(weight: Tensor) -> Tensor:
    return weight if weight.ndim == 4 else rearrange(weight, "o i -> o i 1 1")


def first_stage_to_diffusers(tensors: LazyTensors) -> LazyTensors:
    """Autoencoder under latent-diffusion's names (without `first_stage_model.`) => under diffusers'."""
    shaped = {name: t.map(_as_linear) if _is_coder_attention(name) else t for name, t in tensors.items()}
    return _rename(shaped, first_stage_modules(first_stage_levels(tensors)), "first stage")


def first_stage_from_diffusers(tensors: LazyTensors) -> LazyTensors:
    """Autoencoder under diffusers' names, old or new, attention linear or convolutional => under latent-diffusion's."""
    modules = {theirs: ours for ours, theirs in first_stage_modules(first_stage_levels(tensors)).items()}
    for side in ("encoder", "decoder"):
        for ours, theirs in OLD_CODER_ATTENTION.items():
            modules[f"{side}.mid_block.attentions.0.{theirs}"] = f"{side}.mid.attn_1.{ours}"
    renamed = _rename(tensors, modules, "first stage")
    return {name: t.map(_as_convolution) if _is_coder_attention(name) else t for name, t in renamed.items()}


def text_from_transformers(tensors: LazyTensors) -> LazyTensors:
    """CLIP's text tower with or without `text_model.` => `transformer.text_model.*`, position_ids left out."""
    made = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(TEXT_PREFIX)
        if short in TEXT_DROPPED or short.startswith(("vision_model.", "visual_projection.", "text_projection.")):
            continue
        if short.startswith(("embeddings.", "encoder.", "final_layer_norm.")):
            made[f"transformer.{TEXT_PREFIX}{short}"] = tensor
        elif short != "logit_scale":
            raise UserError(f"the text encoder has a name that CLIP's has not: {name}.")
    return made


def text_to_transformers(tensors: LazyTensors) -> LazyTensors:
    """`transformer.text_model.*` => `text_model.*`, which every version of transformers reads."""
    made = {}
    for name, tensor in tensors.items():
        short = name.removeprefix("transformer.")
        if not short.startswith(TEXT_PREFIX):
            raise UserError(f"the text encoder has a name that CLIP's has not: {name}.")
        if short.removeprefix(TEXT_PREFIX) not in TEXT_DROPPED:
            made[short] = tensor
    return made
