"""The config of a checkpoint: the one beside it, or one made from its names and shapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commands.errors import MissingFileError, UserError
from formats.run_folder import find_config
from ldm.modules.encoders.modules import has_tokenizer
from ldm.training.config import compose
from ldm.util import check_targets
from stable_diffusion.checkpoint import open_checkpoint, why_not_whole
from stable_diffusion.diffusers_configs import SOURCE_CHANNELS
from stable_diffusion.diffusers_folder import FIRST_STAGE, TEXT, UNET
from stable_diffusion.recognise import LATENT_SCALE, check_plausible, first_stage_params, text_params, unet_params

SAMPLING = {  # edit_cli.py of InstructPix2Pix
    "sampler": "euler_ancestral",
    "spacing": "linspace",
    "steps": 100,
    "text_scale": 7.5,
    "image_scale": 1.5,
}
RESOLUTION = 512


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
