"""The two sides of the prediction benchmark: our predictor, and diffusers' pipeline with the same weights.

Published-layout names and networks are reached by dotted path, as configs do. diffusers is
imported only where its side is made.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ldm.util import get_obj_from_str, instantiate_from_config
from prediction.predictor import DTYPES, FramePredictor, Runtime, SamplingOptions, tune_for_inference

SENTENCE = "stack blocks"
PARITY_STEPS = 10
PARITY_LIMITS = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1}  # of final latents, largest difference over largest value
UNIT = {"timesteps": 1000, "linear_start": 0.00085, "linear_end": 0.012, "scale_factor": 0.18215}


@dataclass(frozen=True)
class Shape:
    """Size of the networks and of the work."""

    channels: int
    mult: tuple[int, ...]
    vae_channels: int
    context: int
    resolution: int
    frames: int
    blocks: int = 2  # residual blocks of a level of the U-Net
    tiny_width: int = 64  # of TAESD's layout


SHAPES = {
    "tiny": Shape(32, (1, 2), 32, 64, 32, 2, blocks=1, tiny_width=16),  # under 32 pixels GroupNorm has too few
    "full": Shape(320, (1, 2, 4, 4), 128, 768, 256, 15),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: how many frames, drawn how."""

    name: str
    what: str
    frames: int
    batched: bool
    options: SamplingOptions


class FixedText(nn.Module):
    """Stands for the text encoder on both sides: noise that depends on the sentence's length alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, sentences: list[str]) -> Tensor:
        """(B, 77, width)."""
        draws = [torch.randn(77, self.width, generator=torch.Generator().manual_seed(len(s))) for s in sentences]
        return torch.stack(draws).to(self.place)


def model_config(shape: Shape, *, tiny_coder: bool = False) -> dict[str, Any]:
    """Node of a LatentDiffusion of InstructPix2Pix's architecture; with a first stage of TAESD's where `tiny_coder`."""
    unet = {
        "in_channels": 8,
        "out_channels": 4,
        "model_channels": shape.channels,
        "attention_resolutions": [1, 2, 4],
        "num_res_blocks": shape.blocks,
        "channel_mult": list(shape.mult),
        "num_heads": 8,
        "context_dim": shape.context,
    }
    coder = {"double_z": True, "z_channels": 4, "resolution": shape.resolution, "in_channels": 3, "out_ch": 3}
    coder |= {"ch": shape.vae_channels, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": []}
    parts = {
        "unet_config": ("ldm.modules.diffusionmodules.openaimodel.UNetModel", unet),
        "first_stage_config": ("ldm.models.autoencoder.AutoencoderKL", {"embed_dim": 4, "ddconfig": coder}),
        "cond_stage_config": ("benchmark.peers.FixedText", {"width": shape.context}),
    }
    if tiny_coder:
        tiny = {"scale_factor": UNIT["scale_factor"], "width": shape.tiny_width}
        parts["first_stage_config"] = ("ldm.models.tiny_autoencoder.TinyAutoencoder", tiny)
    nodes = {name: {"target": target, "params": params} for name, (target, params) in parts.items()}
    other = {"learning_rate": 1e-4, "parameterization": "eps", "conditioning_dropout": 0.05, "use_ema": False}
    return {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": UNIT | other | nodes}


def make_model(shape: Shape, *, tiny_coder: bool = False) -> Any:
    """Our model with seeded weights: small noise everywhere, so that no layer is silent."""
    torch.manual_seed(0)
    model = instantiate_from_config(model_config(shape, tiny_coder=tiny_coder), "model").eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.abs().sum() == 0 and name.endswith("weight"):
            nn.init.normal_(parameter, std=0.02)
    return model


def make_peer(model: Any, shape: Shape, *, tiny_coder: bool = False) -> Any:
    """diffusers' pipeline with the weights of our model."""
    import diffusers

    lazy = get_obj_from_str("stable_diffusion.tensor_files.LazyTensor")
    layout, configs = "stable_diffusion.diffusers_layout", "stable_diffusion.diffusers_configs"
    params = model_config(shape)["params"]
    extra = {"transformer_depth": 1, "use_linear_in_transformer": False}
    unet_config = get_obj_from_str(f"{configs}.unet_config")(params["unet_config"]["params"] | extra)
    vae_config = get_obj_from_str(f"{configs}.vae_config")(params["first_stage_config"]["params"], UNIT["scale_factor"])
    unet = diffusers.UNet2DConditionModel.from_config(unet_config)
    pairs = [(model.model.diffusion_model, unet, "unet_to_diffusers")]
    if tiny_coder:
        vae = make_tiny_peer(model.first_stage_model, shape)
    else:
        vae = diffusers.AutoencoderKL.from_config(vae_config)
        pairs.append((model.first_stage_model, vae, "first_stage_to_diffusers"))
    for ours, theirs, name in pairs:
        named = {key: lazy.of(value) for key, value in ours.state_dict().items()}
        translated = get_obj_from_str(f"{layout}.{name}")(named)
        theirs.load_state_dict({key: value.read().clone() for key, value in translated.items()})
    betas = {"beta_start": UNIT["linear_start"], "beta_end": UNIT["linear_end"], "beta_schedule": "scaled_linear"}
    scheduler = diffusers.DDIMScheduler(**betas, clip_sample=False, timestep_spacing="trailing")
    pipe = diffusers.StableDiffusionInstructPix2PixPipeline(
        vae, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_tiny_peer(first_stage: nn.Module, shape: Shape) -> Any:
    """diffusers' AutoencoderTiny with the weights of ours.

    Its latents are the scaled ones, also of the source frame, which InstructPix2Pix takes unscaled: a hook mends that.
    """
    import diffusers

    widths = (shape.tiny_width,) * 4
    vae = diffusers.AutoencoderTiny(encoder_block_out_channels=widths, decoder_block_out_channels=widths)
    vae.load_state_dict(first_stage.state_dict())
    vae.encoder.register_forward_hook(lambda _, __, latent: latent / UNIT["scale_factor"])
    return vae


@dataclass(frozen=True)
class Systems:
    """Both sides, ready to predict the same frames from the same noise."""

    predictor: FramePredictor
    peer: Any
    tuned: bool

    @property
    def precision(self) -> str:
        """Of both sides, as the flag has it."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.peer.unet.dtype)

    def ours(self, row: Row, frames: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) on the device."""
        chunks = [frames] if row.batched else frames.split(1)
        return torch.cat(
            [self.predictor.predict(c, [SENTENCE] * len(c), range(len(c)), options=row.options) for c in chunks]
        )

    def theirs(self, row: Row, frames: Tensor, output: str = "pt") -> Tensor:
        """The same of diffusers, by its documented call with tensors in and out."""
        import diffusers

        kind = diffusers.DPMSolverMultistepScheduler if row.options.sampler == "dpm_solver" else diffusers.DDIMScheduler
        self.peer.scheduler = kind.from_config(self.peer.scheduler.config, timestep_spacing="trailing")
        chunks = [frames] if row.batched else frames.split(1)
        return torch.cat([self._call_peer(row, chunk, output) for chunk in chunks])

    @torch.inference_mode()
    def _call_peer(self, row: Row, frames: Tensor, output: str) -> Tensor:
        model, dtype = self.predictor.model, self.peer.unet.dtype
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(frames))]
        noise = torch.stack([torch.randn(model.latent_shape(frames), generator=g) for g in generators])
        words = model.encode_instruction([SENTENCE]).to(dtype)
        result = self.peer(
            image=frames.to(dtype) / 255.0,
            prompt_embeds=words.repeat(len(frames), 1, 1),
            negative_prompt_embeds=model.encode_instruction([""]).to(dtype).repeat(len(frames), 1, 1),
            num_inference_steps=row.options.steps,
            guidance_scale=row.options.text_scale,
            image_guidance_scale=row.options.image_scale,
            latents=noise.to(words),
            output_type=output,
        ).images
        return result if output == "latent" else (result * 255).round().to(torch.uint8)


def make_systems(
    shape: Shape, runtime: Runtime, device: torch.device, *, tuned: bool, tiny_coder: bool = False
) -> Systems:
    """Both sides on a device, ours tuned as `runtime` says, diffusers' as documented or tuned by us."""
    model = make_model(shape, tiny_coder=tiny_coder)
    peer = make_peer(model, shape, tiny_coder=tiny_coder).to(device, DTYPES[runtime.precision])
    if tuned:
        peer.unet.to(memory_format=torch.channels_last).fuse_qkv_projections()
        peer.unet.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
    model = tune_for_inference(model.to(device), runtime)
    options = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)
    return Systems(FramePredictor(model, shape.resolution, options), peer, tuned)


def measure_parity(systems: Systems, frames: Tensor) -> float:
    """Largest difference of the final latents over their largest value, after ten guided DDIM steps."""
    options = SamplingOptions(steps=PARITY_STEPS, text_scale=7.5, image_scale=1.5)
    row = Row("parity", "", 1, True, options)
    kept = []
    model = systems.predictor.model
    decode = model.decode_first_stage
    model.decode_first_stage = lambda z, context: kept.append(z) or decode(z, context)
    try:
        systems.ours(row, frames[:1])
    finally:
        del model.decode_first_stage
    theirs = systems.theirs(row, frames[:1], output="latent").float()
    return float((kept[0].float() - theirs).abs().max() / theirs.abs().max())
