"""Folders in diffusers' layout: opening one under our names, and writing one that diffusers opens."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.errors import MissingFileError, UserError
from formats.atomic import draft_folder, read_json, write_json
from stable_diffusion import diffusers_layout as layout
from stable_diffusion.diffusers_configs import PIPELINE, TEXT_TO_IMAGE
from stable_diffusion.published_names import RUN_AVERAGE
from stable_diffusion.tensor_files import (
    LazyTensors,
    TensorFile,
    check_room,
    open_tensor_file,
    under,
    write_tensor_file,
)

WEIGHT_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
UNET, FIRST_STAGE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
AVERAGE_FOLDER = "unet_ema"  # where diffusers' training scripts put the average
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class DiffusersFolder:
    """Weights under our names, and the JSON files by component."""

    tensors: LazyTensors
    configs: dict[str, dict[str, Any]]  # unet, vae, text_encoder, scheduler; those that exist


def find_weights(folder: Path) -> Path:
    """The weights of a component: safetensors before pickles, full before half precision, whole before shards.

    Raises:
        MissingFileError: if there are none.
    """
    for suffix in ("safetensors", "bin"):
        for variant in ("", ".fp16"):
            for stem in WEIGHT_STEMS:
                for path in (
                    folder / f"{stem}{variant}.{suffix}",
                    folder / f"{stem}.{suffix}.index{variant}.json",
                    folder / f"{stem}{variant}.{suffix}.index.json",
                ):
                    if path.is_file():
                        return path
    raise MissingFileError(
        f"{folder} holds no weights; wanted diffusion_pytorch_model.safetensors or model.safetensors. Half a download? "
        "Fetch the folder again."
    )


def open_folder(folder: Path) -> DiffusersFolder:
    """A folder with model_index.json, unet/, vae/ and text_encoder/.

    Raises:
        MissingFileError: if it is no such folder, or a part is absent.
        UserError: if it is another kind of pipeline.
    """
    folder = Path(folder)
    index = _read_json(folder / "model_index.json")
    kind = str(index.get("_class_name", ""))
    if "XL" in kind or "text_encoder_2" in index:
        raise UserError(
            f"{folder} is a {kind}, Stable Diffusion XL, which is not supported: give Stable Diffusion v1.5 or "
            "InstructPix2Pix."
        )
    absent = [name for name in ("unet", "vae", "text_encoder") if not (folder / name).is_dir()]
    if absent:
        raise MissingFileError(
            f"{folder} ({kind or 'no pipeline'}) lacks {', '.join(absent)}: half a download, or no {PIPELINE} or "
            f"{TEXT_TO_IMAGE}. Fetch the folder again."
        )
    tensors = _prefixed(UNET, layout.unet_from_diffusers(_component(folder / "unet").tensors))
    tensors |= _prefixed(FIRST_STAGE, layout.first_stage_from_diffusers(_component(folder / "vae").tensors))
    tensors |= _prefixed(TEXT, layout.text_from_transformers(_component(folder / "text_encoder").tensors))
    if (folder / AVERAGE_FOLDER).is_dir():
        average = layout.unet_from_diffusers(_component(folder / AVERAGE_FOLDER).tensors)
        tensors |= _prefixed(RUN_AVERAGE + "diffusion_model.", average)
    files = {part: folder / part / "config.json" for part in ("unet", "vae", "text_encoder")}
    files["scheduler"] = folder / "scheduler" / "scheduler_config.json"
    return DiffusersFolder(tensors, {part: _read_json(path) for part, path in files.items() if path.is_file()})


def _component(folder: Path) -> TensorFile:
    return open_tensor_file(find_weights(folder))


def _prefixed(prefix: str, tensors: LazyTensors) -> LazyTensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(
            f"{path.parent} has no {path.name}, so it is no folder in diffusers' layout: give the folder that holds "
            "model_index.json, unet/, vae/ and text_encoder/, or a .ckpt or .safetensors file."
        )
    return read_json(path, mend="half a download? Fetch it again")


def write_folder(
    folder: Path,
    tensors: LazyTensors,
    configs: Mapping[str, Mapping[str, Any]],
    tokenizer: Path,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Write a folder that diffusers opens; it appears whole or not at all.

    Args:
        folder: must not exist, or be empty.
        tensors: weights under our names; those of the run's average, if any, go to unet_ema/.
        configs: model_index, scheduler, unet, vae, text_encoder.
        tokenizer: folder with CLIP's tokenizer files, which are copied.
        progress: wraps the names of each component, to show a bar.
    """
    folder = Path(folder)
    with draft_folder(folder) as draft:
        check_room(folder, sum(tensor.nbytes for tensor in tensors.values()))
        write_json(draft / "model_index.json", dict(configs["model_index"]))
        write_json(draft / "scheduler" / "scheduler_config.json", dict(configs["scheduler"]))
        for part, stem, converted in _components(tensors):
            write_json(draft / part / "config.json", dict(configs[part.removesuffix("_ema")]))
            write_tensor_file(draft / part / f"{stem}.safetensors", converted, progress=progress)
        copy_tokenizer(tokenizer, draft / "tokenizer")


def _components(tensors: LazyTensors) -> list[tuple[str, str, LazyTensors]]:
    """(folder, stem of the weights file, weights under diffusers' names) of each component."""
    made = [
        ("unet", "diffusion_pytorch_model", layout.unet_to_diffusers(under(UNET, tensors))),
        ("vae", "diffusion_pytorch_model", layout.first_stage_to_diffusers(under(FIRST_STAGE, tensors))),
        ("text_encoder", "model", layout.text_to_transformers(under(TEXT, tensors))),
    ]
    average = under(RUN_AVERAGE + "diffusion_model.", tensors)
    if average:
        made.append((AVERAGE_FOLDER, "diffusion_pytorch_model", layout.unet_to_diffusers(average)))
    return made


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy CLIP's tokenizer files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not (target / "tokenizer_config.json").is_file():
        write_json(
            target / "tokenizer_config.json",
            {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"},
        )
