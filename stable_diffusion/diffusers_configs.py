"""The JSON files of a diffusers folder, made from the parameters of our networks, and read back.

Values that no weight decides stand in diffusers_defaults.yaml.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from commands.errors import UserError

PIPELINE = "StableDiffusionInstructPix2PixPipeline"
TEXT_TO_IMAGE = "StableDiffusionPipeline"
SOURCE_CHANNELS = 8  # input channels of a U-Net that sees the source frame
PREDICTED = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}  # our parameterization: diffusers' prediction_type


@cache
def _read_defaults() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("diffusers_defaults.yaml").read_text(encoding="utf-8"))


def _described(part: str, **values: Any) -> dict[str, Any]:
    """A part's file, keys in order as diffusers writes them."""
    return dict(sorted((_read_defaults()[part] | values).items()))


def unet_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """unet/config.json for parameters of UNetModel."""
    widths = [params["model_channels"] * mult for mult in params["channel_mult"]]
    attends = [2**level in params["attention_resolutions"] for level in range(len(widths))]
    # diffusers calls the number of heads attention_head_dim (its issue 2011).
    heads: int | list[int] = params.get("num_heads", -1)
    if heads == -1:
        heads = [width // params["num_head_channels"] for width in widths]
    return _described(
        "unet",
        attention_head_dim=heads,
        block_out_channels=widths,
        cross_attention_dim=params["context_dim"],
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        in_channels=params["in_channels"],
        layers_per_block=params["num_res_blocks"],
        out_channels=params["out_channels"],
        transformer_layers_per_block=params["transformer_depth"],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        use_linear_projection=params["use_linear_in_transformer"],
    )


def vae_config(params: Mapping[str, Any], scale_factor: float) -> dict[str, Any]:
    """vae/config.json for parameters of AutoencoderKL."""
    shape = params["ddconfig"]
    if "n_embed" in params or shape["attn_resolutions"] or params["embed_dim"] != shape["z_channels"]:
        raise UserError(
            "this first stage has no counterpart in diffusers' AutoencoderKL (a codebook, attention at other levels, "
            "or another latent width than the decoder's): keep the model in the ldm layout."
        )
    num_levels = len(shape["ch_mult"])
    return _described(
        "vae",
        block_out_channels=[shape["ch"] * mult for mult in shape["ch_mult"]],
        down_block_types=["DownEncoderBlock2D"] * num_levels,
        in_channels=shape["in_channels"],
        latent_channels=params["embed_dim"],
        layers_per_block=shape["num_res_blocks"],
        out_channels=shape["out_ch"],
        scaling_factor=scale_factor,
        up_block_types=["UpDecoderBlock2D"] * num_levels,
    )


def text_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """text_encoder/config.json for parameters of FrozenCLIPEmbedder."""
    vocabulary = params["vocabulary"]
    return _described(
        "text_encoder",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        hidden_size=params["width"],
        intermediate_size=params["intermediate"],
        max_position_embeddings=params["max_length"],
        num_attention_heads=params["heads"],
        num_hidden_layers=params["layers"],
        pad_token_id=vocabulary - 1,
        projection_dim=params["width"],
        vocab_size=vocabulary,
    )


def scheduler_config(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """scheduler/scheduler_config.json.

    Raises:
        UserError: if the model was trained in a way that no pipeline of diffusers knows.
    """
    strange = [name for name in ("terminal_signal", "predict_change") if schedule.get(name) not in (None, False)]
    if strange:
        raise UserError(
            f"the model was trained with {' and '.join(strange)}, which has no counterpart in diffusers' pipelines: "
            "keep it in the ldm layout (--layout ldm)."
        )
    return _described(
        "scheduler",
        beta_end=schedule["linear_end"],
        beta_start=schedule["linear_start"],
        num_train_timesteps=schedule["timesteps"],
        prediction_type=PREDICTED[schedule["parameterization"]],
    )


def model_index(in_channels: int) -> dict[str, Any]:
    """model_index.json; without safety checker."""
    return _described("model_index", _class_name=PIPELINE if in_channels == SOURCE_CHANNELS else TEXT_TO_IMAGE)


def heads_of_unet(config: Mapping[str, Any]) -> int | None:
    """Number of heads that a unet/config.json means, if it is the same at every level."""
    heads: int | Sequence[int] | None = config.get("num_attention_heads") or config.get("attention_head_dim")
    return heads if isinstance(heads, int) else None


def schedule_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of our NoiseSchedule for a scheduler_config.json.

    Raises:
        UserError: if its betas follow another law, or it predicts something else.
    """
    law = config.get("beta_schedule", "scaled_linear")
    if law != "scaled_linear":
        raise UserError(f"the scheduler's betas are '{law}'; only 'scaled_linear', Stable Diffusion's, is supported.")
    ours = {theirs: name for name, theirs in PREDICTED.items()}
    predicted = str(config.get("prediction_type", "epsilon"))
    if predicted not in ours:
        raise UserError(
            f"the scheduler's prediction_type is '{predicted}', wanted one of {', '.join(ours)}: correct "
            "scheduler/scheduler_config.json, or fetch the folder again."
        )
    return {
        "timesteps": config.get("num_train_timesteps", 1000),
        "linear_start": config.get("beta_start", 0.00085),
        "linear_end": config.get("beta_end", 0.012),
        "parameterization": ours[predicted],
    }
