"""The sides of a comparison: ours and diffusers', which predict the same frames and make the same training step.

diffusers is imported only where its side is made.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.measuring import count_calls
from benchmark.training_steps import Recipe
from benchmark.workload import Bench, read_size
from ldm.util import instantiate_from_config
from prediction.predictor import DTYPES, FramePredictor, Runtime, SamplingOptions, tune_for_inference
from stable_diffusion import diffusers_configs
from stable_diffusion.diffusers_layout import first_stage_to_diffusers, unet_to_diffusers
from stable_diffusion.tensor_files import LazyTensor

SENTENCE = "stack blocks"
PARITY = SamplingOptions(steps=10, text_scale=7.5, image_scale=1.5)


@dataclass(frozen=True)
class Work:
    """What both sides do for a row: predict so many frames, drawn so, or decode their latents.

    Args:
        options: of the prediction; None decodes only.
        batched: all frames at once, or one after another.
        tiny_coder: with a first stage of TAESD's layout.
    """

    row: str
    what: str
    frames: int
    options: SamplingOptions | None
    batched: bool = True
    tiny_coder: bool = False

    @property
    def steps(self) -> int:
        """Calls of the sampler's network for a frame; 1 where only latents are decoded."""
        return self.options.steps if self.options else 1

    def with_steps(self, steps: int) -> "Work":
        """The same work in another number of steps."""
        return replace(self, options=self.options and replace(self.options, steps=steps))


class Side(Protocol):
    """One of two systems with the same weights, which start from the same noise."""

    def predict(self, work: Work, frames: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) of source frames, the same."""

    def latents(self, work: Work, frames: Tensor) -> Tensor:
        """(B, C, h, w) that `predict` decodes at last."""

    def decode(self, z: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] of latents that the autoencoder itself takes."""


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


class OurSide:
    """This project's predictor."""

    def __init__(self, model: Any, resolution: int) -> None:
        self.model = model
        one = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)
        self.predictor = FramePredictor(model, resolution, one)

    def predict(self, work: Work, frames: Tensor) -> Tensor:
        """See `Side`."""
        chunks = [frames] if work.batched else frames.split(1)
        given = [(c, [SENTENCE] * len(c), range(len(c))) for c in chunks]
        return torch.cat([self.predictor.predict(*of, options=work.options) for of in given])

    def latents(self, work: Work, frames: Tensor) -> Tensor:
        """See `Side`."""
        kept, decode = [], self.model.decode_first_stage
        self.model.decode_first_stage = lambda z, context: kept.append(z.clone()) or decode(z, context)
        try:
            self.predict(work, frames)
        finally:
            del self.model.decode_first_stage
        return torch.cat(kept)

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Tensor:
        """See `Side`."""
        return self.model.first_stage_model.decode(z)


class DiffusersSide:
    """diffusers' pipeline by its documented call, with tensors in and out; `model` is ours, for words and noise."""

    def __init__(self, pipe: Any, model: Any) -> None:
        self.pipe, self.model = pipe, model
        self.dtype = pipe.unet.dtype

    def predict(self, work: Work, frames: Tensor) -> Tensor:
        """See `Side`."""
        return (self._call(work, frames, "pt") * 255).round().to(torch.uint8)

    def latents(self, work: Work, frames: Tensor) -> Tensor:
        """See `Side`."""
        return self._call(work, frames, "latent")

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Tensor:
        """See `Side`."""
        return self.pipe.vae.decode(z).sample

    @torch.inference_mode()
    def _call(self, work: Work, frames: Tensor, output: str) -> Tensor:
        import diffusers

        is_dpm = work.options.sampler == "dpm_solver"
        kind = diffusers.DPMSolverMultistepScheduler if is_dpm else diffusers.DDIMScheduler
        self.pipe.scheduler = kind.from_config(self.pipe.scheduler.config, timestep_spacing="trailing")
        made = []
        for chunk in [frames] if work.batched else frames.split(1):
            generators = [torch.Generator().manual_seed(seed) for seed in range(len(chunk))]
            noise = torch.stack([torch.randn(self.model.latent_shape(chunk), generator=g) for g in generators])
            words, null = (self.model.encode_instruction([said]).to(self.dtype) for said in (SENTENCE, ""))
            result = self.pipe(
                image=chunk.to(self.dtype) / 255.0,
                prompt_embeds=words.repeat(len(chunk), 1, 1),
                negative_prompt_embeds=null.repeat(len(chunk), 1, 1),
                num_inference_steps=work.options.steps,
                guidance_scale=work.options.text_scale,
                image_guidance_scale=work.options.image_scale,
                latents=noise.to(words),
                output_type=output,
            )
            made.append(result.images)
        return torch.cat(made)


def make_sides(
    size: str, runtime: Runtime, device: torch.device, *, tuned: bool = False, tiny_coder: bool = False
) -> tuple[OurSide, DiffusersSide]:
    """Both sides on a device, ours tuned as `runtime` says, diffusers' as documented or tuned by us."""
    config = prediction_config(size, tiny_coder=tiny_coder)
    model = make_model(config)
    pipe = make_pipeline(model, config).to(device, DTYPES[runtime.precision])
    if tuned:
        pipe.unet.to(memory_format=torch.channels_last).fuse_qkv_projections()
        pipe.unet.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
    model = tune_for_inference(model.to(device), runtime)
    return OurSide(model, config["resolution"]), DiffusersSide(pipe, model)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest value of the peer's."""
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def measure_parity(ours: Side, theirs: Side, frames: Tensor) -> float:
    """Difference of the final latents of one frame after ten guided DDIM steps."""
    work = Work("parity", "", 1, PARITY)
    return difference(*(side.latents(work, frames[:1]) for side in (ours, theirs)))


class DiffusersStep:
    """A step as diffusers' train_instruct_pix2pix.py makes it, on diffusers' own U-Net and VAE, from pictures.

    Frozen networks are cast, the U-Net runs under autocast, as there.

    Raises:
        ImportError: if diffusers is not installed.
    """

    def __init__(self, bench: Bench, recipe: Recipe) -> None:
        from diffusers import DDPMScheduler

        torch.manual_seed(0)
        self.bench, self.recipe = bench, recipe
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
        return [self.bench.read(self.dataset, rows) for rows in self.recipe.micro_batches]

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
            loss = self._micro_step(batch) * len(batch["instruction"]) / self.recipe.pairs
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return total
