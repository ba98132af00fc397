"""diffusers, which ours is compared with: its prediction pipeline with the same weights, and its training loop.

diffusers is imported only where its side is made.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.measuring import Bench, read_size
from ldm.util import instantiate_from_config
from prediction.predictor import DTYPES, FramePredictor, Runtime, SamplingOptions, tune_for_inference
from stable_diffusion import diffusers_configs
from stable_diffusion.diffusers_layout import first_stage_to_diffusers, unet_to_diffusers
from stable_diffusion.tensor_files import LazyTensor

SENTENCE = "stack blocks"
PARITY_STEPS = 10
PARITY_LIMITS = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1}  # of final latents, largest difference over largest value
MICRO_BATCH, MICRO_BATCHES = 2, 8  # afp and morpheus, and diffusers' loop here


@dataclass(frozen=True)
class Work:
    """What both sides predict for a row: how many frames, drawn how."""

    row: str
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


def prediction_config(size: str, *, tiny_coder: bool = False) -> dict[str, Any]:
    """Config of the model whose predictions are timed; with a first stage of TAESD's layout where `tiny_coder`."""
    return read_size(size, "prediction", *(["tiny_autoencoder"] if tiny_coder else []))


def make_model(config: Mapping[str, Any]) -> Any:
    """Our model with seeded weights: small noise everywhere, so that no layer is silent."""
    torch.manual_seed(0)
    model = instantiate_from_config(config["model"], "model").eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.abs().sum() == 0 and name.endswith("weight"):
            nn.init.normal_(parameter, std=0.02)
    return model


def make_networks(params: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """diffusers' U-Net and autoencoder of the sizes in the parameters of a LatentDiffusion, untrained."""
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

    extra = {"transformer_depth": 1, "use_linear_in_transformer": False}
    unet = UNet2DConditionModel.from_config(diffusers_configs.unet_config(params["unet_config"]["params"] | extra))
    coder = params["first_stage_config"]["params"]
    if "ddconfig" in coder:
        return unet, AutoencoderKL.from_config(diffusers_configs.vae_config(coder, params["scale_factor"]))
    widths = (coder["width"],) * 4
    return unet, AutoencoderTiny(encoder_block_out_channels=widths, decoder_block_out_channels=widths)


def make_pipeline(model: Any, config: Mapping[str, Any]) -> Any:
    """diffusers' pipeline with the weights of our model.

    The latents of diffusers' AutoencoderTiny are the scaled ones, also of the source frame, which InstructPix2Pix
    takes unscaled: a hook mends that.
    """
    import diffusers

    params = config["model"]["params"]
    unet, vae = make_networks(params)
    pairs = [(model.model.diffusion_model, unet, unet_to_diffusers)]
    if isinstance(vae, diffusers.AutoencoderTiny):
        vae.load_state_dict(model.first_stage_model.state_dict())
        vae.encoder.register_forward_hook(lambda _, __, latent: latent / params["scale_factor"])
    else:
        pairs.append((model.first_stage_model, vae, first_stage_to_diffusers))
    for ours, theirs, translate in pairs:
        translated = translate({key: LazyTensor.of(value) for key, value in ours.state_dict().items()})
        theirs.load_state_dict({key: value.read().clone() for key, value in translated.items()})
    scheduler = diffusers.DDIMScheduler(
        beta_start=params["linear_start"],
        beta_end=params["linear_end"],
        beta_schedule="scaled_linear",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    pipe = diffusers.StableDiffusionInstructPix2PixPipeline(
        vae, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@dataclass(frozen=True)
class Systems:
    """Both sides, ready to predict the same frames from the same noise."""

    predictor: FramePredictor
    peer: Any
    tuned: bool

    @property
    def precision(self) -> str:
        """Precision of both sides, as the flag has it."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.peer.unet.dtype)

    def ours(self, work: Work, frames: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) on the device."""
        return torch.cat(
            [
                self.predictor.predict(c, [SENTENCE] * len(c), range(len(c)), options=work.options)
                for c in ([frames] if work.batched else frames.split(1))
            ]
        )

    def theirs(self, work: Work, frames: Tensor, output: str = "pt") -> Tensor:
        """The same of diffusers, by its documented call with tensors in and out."""
        import diffusers

        is_dpm = work.options.sampler == "dpm_solver"
        kind = diffusers.DPMSolverMultistepScheduler if is_dpm else diffusers.DDIMScheduler
        self.peer.scheduler = kind.from_config(self.peer.scheduler.config, timestep_spacing="trailing")
        chunks = [frames] if work.batched else frames.split(1)
        return torch.cat([self._call_peer(work, chunk, output) for chunk in chunks])

    @torch.inference_mode()
    def _call_peer(self, work: Work, frames: Tensor, output: str) -> Tensor:
        model, dtype = self.predictor.model, self.peer.unet.dtype
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(frames))]
        noise = torch.stack([torch.randn(model.latent_shape(frames), generator=g) for g in generators])
        words = model.encode_instruction([SENTENCE]).to(dtype)
        result = self.peer(
            image=frames.to(dtype) / 255.0,
            prompt_embeds=words.repeat(len(frames), 1, 1),
            negative_prompt_embeds=model.encode_instruction([""]).to(dtype).repeat(len(frames), 1, 1),
            num_inference_steps=work.options.steps,
            guidance_scale=work.options.text_scale,
            image_guidance_scale=work.options.image_scale,
            latents=noise.to(words),
            output_type=output,
        ).images
        return result if output == "latent" else (result * 255).round().to(torch.uint8)


def make_systems(
    size: str, runtime: Runtime, device: torch.device, *, tuned: bool = False, tiny_coder: bool = False
) -> Systems:
    """Both sides on a device, ours tuned as `runtime` says, diffusers' as documented or tuned by us."""
    config = prediction_config(size, tiny_coder=tiny_coder)
    model = make_model(config)
    peer = make_pipeline(model, config).to(device, DTYPES[runtime.precision])
    if tuned:
        peer.unet.to(memory_format=torch.channels_last).fuse_qkv_projections()
        peer.unet.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
    model = tune_for_inference(model.to(device), runtime)
    options = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)
    return Systems(FramePredictor(model, config["resolution"], options), peer, tuned)


def measure_parity(systems: Systems, frames: Tensor) -> float:
    """Largest difference of the final latents over their largest value, after ten guided DDIM steps."""
    options = SamplingOptions(steps=PARITY_STEPS, text_scale=7.5, image_scale=1.5)
    work = Work("parity", "", 1, True, options)
    kept = []
    model = systems.predictor.model
    decode = model.decode_first_stage
    model.decode_first_stage = lambda z, context: kept.append(z.clone()) or decode(z, context)
    try:
        systems.ours(work, frames[:1])
    finally:
        del model.decode_first_stage
    theirs = systems.theirs(work, frames[:1], output="latent").float()
    return float((kept[0].float() - theirs).abs().max() / theirs.abs().max())


def count_calls(networks: Mapping[str, nn.Module], calls: Counter) -> list[Any]:
    """Count the forward passes of networks by name; returns the hooks, whose removal ends the count."""
    return [
        network.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
        for name, network in networks.items()
    ]


class DiffusersStep:
    """A step as diffusers' train_instruct_pix2pix.py makes it, on diffusers' own U-Net and VAE: online, 2 x 8.

    Frozen networks are cast, the U-Net runs under autocast, as there.

    Args:
        bench: device, precision, model and data.
        name: of the case in tables.

    Raises:
        ImportError: if diffusers is not installed.
    """

    pairs = MICRO_BATCH * MICRO_BATCHES

    def __init__(self, bench: Bench, name: str = "diffusers' loop, online, 2 x 8") -> None:
        from diffusers import DDPMScheduler

        torch.manual_seed(0)
        self.bench, self.name = bench, name
        params = bench.config["model"]["params"]
        self.scale_factor = params["scale_factor"]
        self.unet, vae = (network.to(bench.device) for network in make_networks(params))
        self.vae = vae.requires_grad_(False).eval().to(bench.dtype)
        text = instantiate_from_config(params["cond_stage_config"])
        self.text = text.to(bench.device, bench.dtype).requires_grad_(False).eval()
        betas = {"beta_start": params["linear_start"], "beta_end": params["linear_end"]}
        self.schedule = DDPMScheduler(beta_schedule="scaled_linear", **betas)
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=params["learning_rate"])
        self.scaler = bench.scaler()
        self.dataset = instantiate_from_config(bench.node, "data")
        self.calls: Counter = Counter()
        count_calls({"U-Net": self.unet, "VAE encoder": self.vae.encoder, "text encoder": self.text}, self.calls)
        self.parameters = sum(p.numel() for p in self.unet.parameters())

    def data(self) -> list[dict[str, Any]]:
        """All micro-batches, read and on the device."""
        starts = range(0, self.pairs, MICRO_BATCH)
        return [self.bench.read(self.dataset, range(i, min(i + MICRO_BATCH, self.pairs))) for i in starts]

    def parts(self) -> dict[str, Callable[[], object]]:
        """Pieces of the step that can be timed alone."""
        return {"data": self.data}

    def _micro_step(self, batch: Mapping[str, Any]) -> Tensor:
        """() loss of some of the pairs."""
        source, target = (batch[name].to(self.bench.dtype) for name in ("source_frame", "target_frame"))
        latents = self.vae.encode(target).latent_dist.sample() * self.scale_factor
        noise = torch.randn_like(latents)
        t = torch.randint(0, 1000, (len(latents),), device=latents.device)
        noisy = self.schedule.add_noise(latents, noise, t)
        states, null = self.text(batch["instruction"]), self.text([""])
        context = self.vae.encode(source).latent_dist.mode()
        chance = torch.rand(len(latents), 1, 1, 1, device=latents.device)
        states = torch.where(chance[..., 0] < 0.1, null, states)
        context = context * (1 - ((chance >= 0.05) & (chance < 0.15)).to(context))
        with self.bench.autocast():
            output = self.unet(torch.cat([noisy, context], dim=1), t, states).sample
        return F.mse_loss(output.float(), noise.float())

    def step(self) -> float:
        """One optimiser step over all pairs; the mean loss."""
        self.calls.clear()
        total = 0.0
        for batch in self.data():
            loss = self._micro_step(batch) * len(batch["instruction"]) / self.pairs
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return total
