"""The models: DDPM (a denoiser) and LatentDiffusion (frame + instruction -> future frame), as they predict.

Source: DDPM (arXiv 2006.11239), latent diffusion (arXiv 2112.10752), InstructPix2Pix (arXiv 2211.09800); class,
method and attribute names as in the latent-diffusion repository, so that published weights load without renaming.
Knows no published weights, no data set but FrameBatch, and no Lightning: `ldm.models.diffusion_training` adds what
trains to the same classes. One config serves both, so what only training reads is kept here as it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from commands.errors import UserError
from ldm.data.batch import CachedBatch, FrameBatch
from ldm.data.stream import SEED_RANGE
from ldm.models.diffusion.conditioning import Conditioning, TrainingDraws, drop_conditioning, make_null
from ldm.models.diffusion.guidance import DualGuidance
from ldm.models.diffusion.sampler import Sampler
from ldm.models.diffusion.sampling import SamplingOptions, make_sampler
from ldm.models.diffusion.schedule import NoiseSchedule, Parameterization
from ldm.models.diffusion.timesteps import spaced_timesteps
from ldm.models.diffusion.vector_conditioning import VectorConditioning
from ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from ldm.modules.ema import LitEma
from ldm.modules.foresight import Foresight
from ldm.util import instantiate_from_config

if TYPE_CHECKING:
    from ldm.modules.losses.frame_loss import FrameTerms


@dataclass(frozen=True)
class DenoisingLoss:
    """Loss of one batch."""

    loss: Tensor  # () mean over the batch
    per_sample: Tensor  # (B,)
    t: Tensor  # (B,) timestep of each sample, for the loss-by-noise-level plot
    parts: dict[str, Tensor] = field(default_factory=dict)  # each term by name, ()


class DiffusionWrapper(nn.Module):
    """The U-Net and how conditions reach it: frames by channel concatenation, text by cross-attention ("hybrid")."""

    def __init__(self, unet_config: Mapping) -> None:
        super().__init__()
        self.diffusion_model = instantiate_from_config(unet_config, "model.params.unet_config")

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Network output (B, C, h, w)."""
        told = {} if cond.vector is None else {"y": cond.vector}
        frames = [x_t, cond.concat] if cond.retrieved is None else [x_t, cond.concat, cond.retrieved]
        return self.diffusion_model(torch.cat(frames, dim=1), t, context=cond.crossattn, **told)


class DDPM(nn.Module):
    """A denoiser with its schedule and its average; subclasses say what is denoised.

    Args:
        unet_config: node of the network.
        timesteps, linear_start, linear_end, terminal_signal: see NoiseSchedule.
        parameterization: what the network predicts: eps, x0 or v.
        learning_rate: of AdamW; the one used, never multiplied behind your back.
        weight_decay: of AdamW.
        use_ema: keep an exponential average of the network.
        ema_decay: its decay per optimiser step, after warm-up.
        scheduler_config: node of a schedule of learning-rate factors, or None for a constant rate.
        training_steps: train only at the noise levels that a sampler of so many trailing steps visits; None trains
            at all of them. For models that predict in a few steps (arXiv 2409.11355).
    """

    lambda_simple = 1.0  # weight of the denoising loss

    def __init__(
        self,
        unet_config: Mapping,
        timesteps: int,
        linear_start: float,
        linear_end: float,
        learning_rate: float,
        parameterization: Parameterization = "eps",
        weight_decay: float = 0.01,
        use_ema: bool = True,
        ema_decay: float = 0.9999,
        scheduler_config: Mapping | None = None,
        training_steps: int | None = None,
        terminal_signal: float | None = None,
    ) -> None:
        super().__init__()
        if parameterization not in ("eps", "x0", "v"):
            raise UserError(f"parameterization '{parameterization}' is not one of eps, x0, v.")
        self.parameterization: Parameterization = parameterization
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.scheduler_config = scheduler_config
        self.schedule = NoiseSchedule(timesteps, linear_start, linear_end, terminal_signal)
        self.levels = spaced_timesteps(timesteps, training_steps or timesteps, "trailing")
        self.model = DiffusionWrapper(unet_config)
        self.model_ema = LitEma(self.model, ema_decay) if use_ema else None

    @property
    def device(self) -> torch.device:
        """Where the weights are; without any, as another engine computes them, where the schedule is."""
        return next(chain(self.parameters(), self.buffers())).device

    def ema_scope(self) -> AbstractContextManager[None]:
        """Inside, the network has the averaged weights; no copy is made and none is kept."""
        return nullcontext() if self.model_ema is None else self.model_ema.shown_by(self.model)

    def q_sample(self, x_start: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """See NoiseSchedule.q_sample."""
        return self.schedule.q_sample(x_start, t, eps)

    def apply_model(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Output of the network, in its own parameterization (B, C, h, w)."""
        return self.model(x_t, t, cond)

    def predict_eps(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Noise estimate (B, C, h, w), whatever the parameterization: what guidance and samplers take."""
        output = self.apply_model(x_t, t, cond).to(x_t.dtype)
        return self.schedule.eps_from_output(self.parameterization, output, x_t, t)

    def p_losses(
        self,
        x_start: Tensor,
        cond: Conditioning,
        t: Tensor,
        eps: Tensor,
        frame_terms: Callable[[Tensor], FrameTerms] | None = None,
    ) -> DenoisingLoss:
        """Mean squared error of the network's output, DDPM eq. 14 for eps, times `lambda_simple`, and further terms.

        Args:
            x_start: (B, C, h, w) clean latent.
            cond: conditions.
            t, eps: timesteps (B,) and noise.
            frame_terms: further terms of the loss, from the clean latent that the output stands for.
        """
        x_t = self.q_sample(x_start, t, eps)
        output = self.apply_model(x_t, t, cond)
        target = self.schedule.training_target(self.parameterization, x_start, t, eps)
        per_sample = reduce((output.float() - target.float()) ** 2, "b ... -> b", "mean")
        simple = per_sample.mean()
        loss, parts = self.lambda_simple * simple, {"loss_simple": simple}
        if frame_terms is not None:
            terms = frame_terms(self.schedule.start_from_output(self.parameterization, output.float(), x_t.float(), t))
            loss = loss + terms.total
            parts |= terms.parts
        return DenoisingLoss(loss, per_sample.detach(), t, parts)


class LatentDiffusion(DDPM):
    """From the latent of the current frame and an instruction, the latent of the future frame.

    Args:
        first_stage_config: node of the frozen autoencoder.
        cond_stage_config: node of the text encoder.
        scale_factor: brings the first stage's latents to unit variance; 0.18215 for SD v1.
        cond_stage_trainable: train the text encoder too.
        conditioning_dropout: probability of each of: no text, no frame, neither (see `drop_conditioning`).
        predict_change: diffuse the *change* from source to target latent instead of the target latent; then what
            does not move is copied exactly. For first stages whose latents subtract well.
        frame_loss_config: node of FrameLoss, terms on the decoded prediction; None trains on the noise alone.
        trainable_config: node of TrainedParts: which parts of the U-Net train; None trains all of it.
        optimizer_bits: 32, or 8 for bitsandbytes' AdamW.
        horizon_channels: sinusoids that tell the network the seconds ahead, in its vector (`adm_in_channels`), beside
            what its foresight sees; 0: it is not told, and predicts as far ahead as its training pairs.
        lambda_simple: weight of the denoising loss beside the terms of frame_loss_config; 0 trains on those alone.
        compile_unet: run the U-Net through torch.compile; names of weights stay as they are.
        **ddpm: see DDPM.
    """

    def __init__(
        self,
        first_stage_config: Mapping,
        cond_stage_config: Mapping,
        scale_factor: float,
        conditioning_dropout: float,
        cond_stage_trainable: bool = False,
        predict_change: bool = False,
        frame_loss_config: Mapping | None = None,
        trainable_config: Mapping | None = None,
        optimizer_bits: int = 32,
        lambda_simple: float = 1.0,
        *,
        compile_unet: bool = False,
        horizon_channels: int = 0,
        **ddpm: object,
    ) -> None:
        super().__init__(**ddpm)
        self.horizon_channels = horizon_channels
        self.vector_conditioning.check(getattr(self.model.diffusion_model, "adm_in_channels", None) or 0)
        self.optimizer_bits = optimizer_bits
        self.lambda_simple = lambda_simple
        self.compile_unet = compile_unet
        self.scale_factor = scale_factor
        self.conditioning_dropout = conditioning_dropout
        self.cond_stage_trainable = cond_stage_trainable
        self.predict_change = predict_change
        self.first_stage_model = instantiate_from_config(first_stage_config, "model.params.first_stage_config")
        self.cond_stage_model = instantiate_from_config(cond_stage_config, "model.params.cond_stage_config")
        self.first_stage_model.requires_grad_(False)
        self.cond_stage_model.requires_grad_(cond_stage_trainable)
        self.frame_loss_config = frame_loss_config
        self.trainable_config = trainable_config
        self.train(self.training)

    def train(self, mode: bool = True) -> LatentDiffusion:
        """Frozen parts stay in eval mode whatever is asked."""
        super().train(mode)
        if hasattr(self, "cond_stage_model"):
            self.first_stage_model.eval()
            self.cond_stage_model.train(mode and self.cond_stage_trainable)
        return self

    @torch.no_grad()
    def encode_first_stage(self, frame: Tensor, generators: list[torch.Generator] | None = None) -> Tensor:
        """Latent of a frame, drawn from the posterior and scaled to unit variance.

        Args:
            frame: (B, 3, H, W) in [-1, 1]; H and W multiples of the first stage's factor.
            generators: one a sample, for the draw; None takes torch's own.

        Returns:
            (B, C, h, w), times `scale_factor`. The conditioning frame is *not* scaled; see `encode_context`.
        """
        return self.scale_factor * self.first_stage_model.encode(frame).sample(generators)

    @torch.no_grad()
    def encode_context(self, frame: Tensor) -> Tensor:
        """Latent of the source frame as the network sees it: posterior mode, not scaled (B, C, h, w)."""
        return self.first_stage_model.encode(frame).mode()

    @torch.no_grad()
    def decode_first_stage(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Frame (B, 3, H, W), about [-1, 1], of a diffused latent.

        Args:
            z: (B, C, h, w), as the sampler returns it.
            context: the source latent of `encode_context`; needed with `predict_change`.
        """
        latent = z / self.scale_factor
        if self.predict_change:
            if context is None:
                raise ValueError("this model predicts the change: decode_first_stage needs the source latent.")
            latent = latent + context
        return self.first_stage_model.decode(latent)

    @property
    def foresight(self) -> Foresight | None:
        """What tells the network where things will be, where it has such a part."""
        return getattr(self.model.diffusion_model, "foresight", None)

    @property
    def takes_seconds(self) -> bool:
        """Whether the time ahead is an input of the model."""
        return self.horizon_channels > 0

    @property
    def is_deterministic(self) -> bool:
        """Whether it predicts the mean of all futures in one step, so that other seeds draw the same picture."""
        return self.foresight is None and self.parameterization == "x0" and len(set(self.levels)) == 1

    @property
    def vector_conditioning(self) -> VectorConditioning:
        """What makes the vector of a batch."""
        return VectorConditioning(
            self.horizon_channels,
            self.foresight,
            decode=lambda context: self.first_stage_model.decode(context.to(self.frame_dtype)),
        )

    def encode_neighbours(self, frames: Tensor | None) -> Tensor | None:
        """Latents (B, 2 K C, h, w) of neighbours' frames (B, 2 K, 3, H, W) in [-1, 1]; None for none."""
        if frames is None:
            return None
        latents = self.encode_context(rearrange(frames, "b n c h w -> (b n) c h w"))
        return rearrange(latents, "(b n) c h w -> b (n c) h w", b=len(frames))

    def get_learned_conditioning(
        self,
        source_frame: Tensor,
        instruction: list[str],
        seconds: Tensor | None = None,
        generators: list[torch.Generator] | None = None,
        neighbours: Tensor | None = None,
    ) -> Conditioning:
        """Conditions of B samples from frames (B, 3, H, W) in [-1, 1], B sentences and, where taken, seconds (B,) and
        the frames of neighbours (B, 2 K, 3, H, W).
        """
        context, text = self.encode_context(source_frame), self.encode_instruction(instruction)
        vector = self.vector_of(context, text, seconds, generators)
        return Conditioning(context, text, vector, retrieved=self.encode_neighbours(neighbours))

    def vector_of(
        self, context: Tensor, text: Tensor, seconds: Tensor | None, generators: list[torch.Generator] | None = None
    ) -> Tensor | None:
        """See VectorConditioning.for_prediction."""
        return self.vector_conditioning.for_prediction(context, text, seconds, generators)

    def encode_instruction(self, instruction: list[str]) -> Tensor:
        """Embedded sentences (B, L, D); with gradients only when the text encoder trains."""
        with torch.set_grad_enabled(self.cond_stage_trainable and torch.is_grad_enabled()):
            return self.cond_stage_model(instruction)

    def get_null_conditioning(self, cond: Conditioning) -> Conditioning:
        """The same batch without frame and text."""
        return make_null(cond, self.encode_instruction([""]))

    def latent_shape(self, frame: Tensor) -> tuple[int, int, int]:
        """(C, h, w) of the latent of frames (..., H, W)."""
        factor = self.first_stage_model.downsampling_factor
        height, width = frame.shape[-2:]
        if height % factor or width % factor:
            raise UserError(f"frames of {width}x{height}: width and height must be multiples of {factor}.")
        return self.first_stage_model.latent_channels, height // factor, width // factor

    def get_input(
        self, batch: FrameBatch | CachedBatch, draws: TrainingDraws, dropout: float
    ) -> tuple[Tensor, Conditioning]:
        """Latent to be noised (B, C, h, w) and conditions, some hidden, of a batch of frames or of cached latents."""
        if "source_latent" in batch:
            context = batch["source_latent"].float()
            posterior = DiagonalGaussianDistribution.of(batch["target_mean"].float(), batch["target_std"].float())
            x_start = self.scale_factor * posterior.sample(draws.generators)
        else:
            context = self.encode_context(batch["source_frame"])
            x_start = self.encode_first_stage(batch["target_frame"], draws.generators)
        text = batch["text"].float() if "text" in batch else self.encode_instruction(batch["instruction"])
        retrieved = self.encode_neighbours(batch.get("neighbour_frames"))
        told = self.vector_conditioning.for_training(context, text, batch, draws, teach=self.training)
        cond = Conditioning(context, text, *told, retrieved)
        if self.predict_change:
            x_start = x_start - self.scale_factor * context
        if dropout > 0.0:
            null = batch["null_text"].float() if "text" in batch else self.encode_instruction([""])
            cond = drop_conditioning(cond, null, draws.u, dropout)
        return x_start, cond

    @property
    def size_multiple(self) -> int:
        """What width and height of a frame must be multiples of, for first stage and U-Net to halve it."""
        halvings = getattr(self.model.diffusion_model, "downsampling_factor", 1)
        return self.first_stage_model.downsampling_factor * halvings

    @property
    def frame_dtype(self) -> torch.dtype:
        """What the first stage computes in; one without weights takes anything."""
        return next((p.dtype for p in self.first_stage_model.parameters()), torch.float32)

    @torch.no_grad()
    def draw_frames(
        self,
        cond: Conditioning,
        null: Conditioning,
        options: SamplingOptions,
        seeds: Sequence[int],
        sampler: Sampler | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Tensor:
        """Predicted frames (B, 3, H, W), about [-1, 1]; latents stay in float32 whatever the networks compute in.

        Args:
            cond, null: conditions of B samples, and the same without frame and text.
            options: how they are drawn.
            seeds: one a sample; a frame depends on its seed, and on its batch by float rounding only.
            sampler: of `options`, where the caller keeps it.
            progress: wraps the sampler's steps, to show a bar.
        """
        scales = (options.text_scale, options.image_scale, options.interval, options.rescale)
        generators = [torch.Generator().manual_seed(int(seed) % SEED_RANGE) for seed in seeds]
        noise = torch.stack([torch.randn(cond.concat.shape[1:], generator=g) for g in generators])
        sampler = sampler or make_sampler(self.schedule, options)
        guided = DualGuidance(self.predict_eps, cond, null, *scales)
        z = sampler.sample(guided, noise.to(cond.concat.device), generators, progress)
        return self.decode_first_stage(z.to(self.frame_dtype), cond.concat.to(self.frame_dtype))

    def describe_parts(self) -> dict[str, int]:
        """Parameters of each part."""
        parts = {"U-Net": self.model, "first stage": self.first_stage_model, "text encoder": self.cond_stage_model}
        return {label: sum(p.numel() for p in part.parameters()) for label, part in parts.items()}
