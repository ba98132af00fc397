"""Any checkpoint into one file under latent-diffusion's names, or into a folder that diffusers opens.

    python -m stable_diffusion.convert --input X --output Y --layout ldm|diffusers [--dtype float16] [--ema]
    python -m stable_diffusion.convert --input X --output Y --layout onnx

Streams: one tensor is in memory at a time (a .ckpt output needs all of them once).
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from commands.errors import MissingFileError, UserError
from commands.run import run_command, show_progress
from ldm.modules.encoders.modules import find_clip_tokenizer, has_tokenizer
from ldm.util import describe_misfit, instantiate_from_config
from stable_diffusion import diffusers_configs
from stable_diffusion.checkpoint import Checkpoint, open_checkpoint, select_weights, why_not_whole
from stable_diffusion.checkpoint_config import for_prediction, read_config
from stable_diffusion.diffusers_folder import FIRST_STAGE, TEXT, UNET, write_folder
from stable_diffusion.load import load_first_stage, load_pretrained
from stable_diffusion.published_names import (
    POSITION_IDS,
    RUN_AVERAGE,
    TRAINING_ONLY,
    average_names,
    part_of,
    published_average_name,
    schedule_tables,
)
from stable_diffusion.recognise import (
    LATENT_SCALE,
    SD_SCHEDULE,
    first_stage_params,
    run_params,
    text_params,
    unet_params,
)
from stable_diffusion.tensor_files import LazyTensor, LazyTensors, write_tensor_file
from stable_diffusion.weights import resolve

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TEXT_POSITIONS = f"{TEXT}transformer.text_model.embeddings.position_embedding.weight"  # CLIP has it
UNET_START = f"{UNET}input_blocks.0.0.weight"
EMA_DECAY = 0.9999  # of InstructPix2Pix and configs/train.yaml; written where the input does not say it
Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class OnnxRequest:
    """What --layout onnx was asked for."""

    source: Path
    output: Path
    config: Path | None = None  # None: the one beside the checkpoint
    trust_config: bool = False
    first_stage: Path | None = None


def convert(
    source: Path,
    output: Path,
    layout: str,
    *,
    dtype: torch.dtype | None = None,
    use_ema: bool = False,
    num_heads: int | None = None,
    tokenizer: Path | None = None,
    first_stage: Path | None = None,
    progress: Progress = iter,
) -> None:
    """Convert one checkpoint.

    One without CLIP is a run of this project with parts of its own (configs/cpu_tiny.yaml); into `ldm` it goes as it
    is, without the tables that published files hold.

    Args:
        source: file or folder of any known kind.
        output: a .safetensors or .ckpt file for `ldm`, a new folder for `diffusers`.
        layout: `ldm` or `diffusers`.
        dtype: of floating-point weights; None keeps them. Schedule tables stay as they are.
        use_ema: write the moving average as the network, and the average itself no more.
        num_heads: attention heads of the U-Net, where they cannot be known (see recognise).
        tokenizer: folder with CLIP's tokenizer, for `diffusers`; looked up if None.
        first_stage: checkpoint whose autoencoder takes the place of the input's, such as one with a fine-tuned decoder.
        progress: wraps the names, to show a bar.

    Raises:
        UserError: if the input is bad; before anything is written.
        OSError: if the disk has no room; nothing half-written is kept.
    """
    if layout == "ldm" and output.suffix not in (".safetensors", ".ckpt"):
        raise UserError(f"--output {output}: the ldm layout is one file, name it .safetensors or .ckpt.")
    checkpoint = open_checkpoint(source)
    if first_stage is not None:
        checkpoint = _with_first_stage(checkpoint, open_checkpoint(first_stage))
    ours = layout == "ldm" and TEXT_POSITIONS not in checkpoint.tensors and UNET_START in checkpoint.tensors
    if not ours and (lack := why_not_whole(checkpoint)):
        raise UserError(f"{source} {lack}. Give a whole checkpoint of Stable Diffusion v1.5 or InstructPix2Pix.")
    tensors = _with_averages(checkpoint, use_ema)
    if dtype is not None:
        tensors = {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    heads = num_heads or checkpoint.unet_heads or _heads_of_run(checkpoint.path)
    if layout == "ldm":
        published = tensors if ours else to_published(checkpoint, tensors)
        known = {"unet_heads": heads, "text_heads": checkpoint.text_heads}
        if checkpoint.schedule != SD_SCHEDULE:
            known |= checkpoint.schedule
        metadata = {name: str(value) for name, value in known.items() if value is not None}
        write_tensor_file(output, published, metadata, progress)
        return
    configs = _diffusers_configs(checkpoint, heads)
    beside = checkpoint.path / "tokenizer"
    folder = tokenizer or (beside if has_tokenizer(beside) else find_clip_tokenizer())
    if not has_tokenizer(folder):
        raise MissingFileError(f"--tokenizer {folder} holds neither vocab.json and merges.txt nor tokenizer.json.")
    write_folder(output, tensors, configs, folder, progress)


def _with_first_stage(checkpoint: Checkpoint, other: Checkpoint) -> Checkpoint:
    """The checkpoint with the first stage of another one.

    Raises:
        UserError: if that holds none, or one of another shape.
    """
    new, old = other.part(FIRST_STAGE), checkpoint.part(FIRST_STAGE)
    if not new:
        raise UserError(f"--first-stage {other.path} holds no first stage; give a run that trained one, or vae-ft-mse.")
    new = {name: tensor for name, tensor in new.items() if not name.startswith(TRAINING_ONLY)}
    misfit = describe_misfit(new, old) if old else None
    if misfit:
        raise UserError(f"--first-stage {other.path} does not fit {checkpoint.path}: {misfit}.")
    kept = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(FIRST_STAGE)}
    return replace(checkpoint, tensors=kept | {FIRST_STAGE + name: tensor for name, tensor in new.items()})


def _with_averages(checkpoint: Checkpoint, use_ema: bool) -> LazyTensors:
    """The three parts; unless the average is taken for the network, the average too, under our runs' names."""
    weights, kind = select_weights(checkpoint, use_ema=use_ema)
    if use_ema:
        if kind == "raw":
            log.warning("%s holds no moving average (or is it already); its weights are written.", checkpoint.path)
        return weights
    averaged = average_names((name for name in weights if name.startswith("model.")), checkpoint.tensors)
    averages = {RUN_AVERAGE + name.removeprefix("model."): checkpoint.tensors[a] for name, a in averaged.items()}
    return weights | averages


def _cast(tensor: LazyTensor, dtype: torch.dtype) -> LazyTensor:
    return tensor.map(lambda value: value.to(dtype)) if tensor.dtype.is_floating_point else tensor


def to_published(checkpoint: Checkpoint, tensors: LazyTensors) -> LazyTensors:
    """Tensors under the names of published checkpoints, with the tables and buffers that those hold."""
    averages = {name for name in tensors if name.startswith(RUN_AVERAGE)}
    made = {name: tensor for name, tensor in tensors.items() if part_of(name)}
    for name in averages:
        made[published_average_name("model." + name.removeprefix(RUN_AVERAGE))] = tensors[name]
    schedule = {key: checkpoint.schedule[key] for key in ("timesteps", "linear_start", "linear_end")}
    schedule["terminal_signal"] = checkpoint.schedule.get("terminal_signal")
    tables = {name: LazyTensor.of(value) for name, value in schedule_tables(**schedule).items()}
    length = tensors[TEXT_POSITIONS].shape[0]
    tables[POSITION_IDS] = LazyTensor.of(torch.arange(length)[None])
    if averages:
        tables["model_ema.decay"] = LazyTensor.of(torch.tensor(EMA_DECAY))
        tables["model_ema.num_updates"] = LazyTensor.of(torch.tensor(0, dtype=torch.int32))
    own = {name: checkpoint.tensors[name] for name in tables if name in checkpoint.tensors}
    return {**made, **tables, **own}


def _diffusers_configs(checkpoint: Checkpoint, heads: int | None) -> dict[str, dict]:
    unet = unet_params(checkpoint.part(UNET), heads)
    first_stage = first_stage_params(checkpoint.part(FIRST_STAGE))
    text = text_params(checkpoint.part(TEXT), checkpoint.text_heads)
    return {
        "model_index": diffusers_configs.model_index(unet["in_channels"]),
        "scheduler": diffusers_configs.scheduler_config(checkpoint.schedule),
        "unet": diffusers_configs.unet_config(unet),
        "vae": diffusers_configs.vae_config(first_stage, LATENT_SCALE),
        "text_encoder": diffusers_configs.text_config(text),
    }


def _heads_of_run(path: Path) -> int | None:
    """Heads of the U-Net by the config.yaml of the run that a checkpoint lies in."""
    try:
        return run_params(path)["unet_config"]["params"].get("num_heads")
    except (KeyError, TypeError, AttributeError):
        return None


def convert_to_onnx(request: OnnxRequest) -> dict[str, float]:
    """Write the networks of a checkpoint as ONNX files, and compare them with PyTorch; see `onnx_export`.

    Raises:
        UserError: if the input is bad, or the config beside it names a class of another project.
    """
    from stable_diffusion.onnx_export import write_onnx

    config, path = read_config(request.source, request.config, trusted=request.trust_config)
    for section in ("model", "resolution"):
        if config.get(section) is None:
            raise UserError(f"{path} has no section '{section}'; give --config, the config.yaml of the run.")
    model = instantiate_from_config(for_prediction(config["model"]), "model")
    load_pretrained(model, request.source, use_ema=True)
    if request.first_stage is not None:
        load_first_stage(model, request.first_stage)
    return write_onnx(request.output, model.eval(), config, lambda parts: show_progress(parts, "parts"))


def make_parser() -> argparse.ArgumentParser:
    """Flags of the command."""
    parser = argparse.ArgumentParser(prog="python -m stable_diffusion.convert", description=__doc__.split("\n\n")[0])
    parser.add_argument("--input", required=True, help="checkpoint file, diffusers folder, run folder, or a known name")
    parser.add_argument("--output", required=True, type=Path, help="file (.safetensors, .ckpt) or new folder")
    parser.add_argument("--layout", required=True, choices=("ldm", "diffusers", "onnx"))
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="of the weights; kept as they are by default")
    parser.add_argument("--ema", action="store_true", help="write the moving average as the network")
    parser.add_argument("--num-heads", type=int, help="attention heads of the U-Net, where they cannot be known")
    parser.add_argument("--tokenizer", type=Path, help="folder with CLIP's vocab.json and merges.txt")
    parser.add_argument("--config", type=Path, help="for onnx: the run's config.yaml; looked for beside the input")
    parser.add_argument("--trust-config", action="store_true", help="the config beside the input may name any class")
    parser.add_argument(
        "--first-stage",
        metavar="PATH",
        help="whose first stage replaces the input's: a run that trained one, an autoencoder, or a known name",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; 2 after bad input."""
    opt = make_parser().parse_args(argv)

    def body() -> None:
        first_stage = resolve(opt.first_stage) if opt.first_stage else None
        if opt.layout == "onnx":
            request = OnnxRequest(resolve(opt.input), opt.output, opt.config, opt.trust_config, first_stage)
            for part, difference in convert_to_onnx(request).items():
                sys.stdout.write(f"{part}.onnx  within {difference:.1e} of PyTorch\n")
            sys.stdout.write(f"{opt.output}\n")
            return
        convert(
            resolve(opt.input),
            opt.output,
            opt.layout,
            dtype=DTYPES[opt.dtype] if opt.dtype else None,
            use_ema=opt.ema,
            num_heads=opt.num_heads,
            tokenizer=opt.tokenizer,
            first_stage=first_stage,
            progress=lambda names: show_progress(names, f"{len(names)} tensors"),
        )
        sys.stdout.write(f"{opt.output}\n")

    return run_command("python -m stable_diffusion.convert", body)


if __name__ == "__main__":
    sys.exit(main())
