"""The training steps that the benchmark times: ours, the papers' plain recipe, and diffusers' loop.

Each case makes one optimiser step over the same pairs, reading them included, and counts how often it calls each
network. The models are named in a config, as everywhere; diffusers is imported only where its case is asked for.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.training_data import Bench
from ldm.training.build import build_trained_model
from ldm.util import instantiate_from_config

PAIRS = 16  # of one optimiser step, where a case does not say otherwise
SCALE_FACTOR = 0.18215  # of SD v1's latents
PLAIN_MICRO_BATCH = 2  # afp and morpheus: 2 x 8
PEER = "diffusers' loop, online, 2 x 8"  # pairs of a micro-batch x micro-batches, here and below

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "resolution": 32,
        "unet": {"model_channels": 32, "channel_mult": [1, 2], "attention_resolutions": [1, 2], "num_heads": 2},
        "blocks": 1,
        "text": {"width": 32, "layers": 2, "heads": 2, "max_length": 32},
        "first_stage": {"ch": 32, "ch_mult": [1, 2, 2, 2], "num_res_blocks": 1},
    },
    "full": {
        "resolution": 256,
        "unet": {
            "model_channels": 320,
            "channel_mult": [1, 2, 4, 4],
            "attention_resolutions": [4, 2, 1],
            "num_heads": 8,
        },
        "blocks": 2,
        "text": {"width": 768, "layers": 12, "heads": 12, "max_length": 77},
        "first_stage": {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2},
    },
}


def model_config(size: Mapping[str, Any], frame_loss: Mapping | None = None, **more: object) -> dict:
    """Node of a LatentDiffusion of Stable Diffusion's kind; bytes stand for CLIP's tokens, which need a download."""
    return {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "learning_rate": 1e-4,
            "timesteps": 1000,
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "scale_factor": SCALE_FACTOR,
            "conditioning_dropout": 0.05,
            "use_ema": False,
            "frame_loss_config": frame_loss,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    **size["unet"],
                    "in_channels": 8,
                    "out_channels": 4,
                    "num_res_blocks": size["blocks"],
                    "context_dim": size["text"]["width"],
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {"embed_dim": 4, "ddconfig": {**size["first_stage"], "z_channels": 4}},
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.ByteTextEmbedder",
                "params": dict(size["text"]),
            },
            **more,
        },
    }


def image_loss(mode: str, *, tiny_decoder: bool = False) -> dict:
    """Node of LPIPS + L1 with a trunk of seeded random weights; its speed is that of the published ones.

    Args:
        mode: of FrameLoss: exact or gated.
        tiny_decoder: decode with TAESD's layout, of random weights too, instead of the first stage's decoder.
    """
    lpips = {"target": "ldm.modules.losses.lpips.LPIPS", "params": {"weights": None}}
    params = {"mode": mode, "lambda_lpips": 0.1, "lambda_l1": 0.1, "lpips_config": lpips}
    if mode == "gated":
        params["crop"] = 16
    if tiny_decoder:
        node = {"target": "ldm.models.tiny_autoencoder.TinyDecoder", "params": {"scale_factor": SCALE_FACTOR}}
        params |= {"tiny_decoder_config": node, "crop": None}
    return {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": params}


@dataclass
class Case:
    """One way of making an optimiser step."""

    name: str
    step: Callable[[], float]  # one optimiser step; the loss
    calls: Counter  # network: calls, of the last step
    parts: dict[str, Callable[[], object]]  # pieces of the step that can be timed alone
    parameters: int  # that train
    pairs: int = PAIRS  # of a step


class OurStep:
    """A step of this project's model.

    Args:
        bench: device, precision, size and data.
        micro_batch: pairs of a forward pass.
        cached: train from latents and embedded sentences that were made before; else from pictures.
        loss: node of the image loss, or None for the loss on the noise alone.
        pairs: of a step.
        **model: further parameters of the model, such as trainable_config.
    """

    def __init__(
        self, bench: Bench, micro_batch: int, cached: bool, loss: Mapping | None, pairs: int = PAIRS, **model: object
    ) -> None:
        torch.manual_seed(0)
        self.bench, self.pairs = bench, pairs
        self.model = build_trained_model(model_config(bench.size, loss, **model)).to(bench.device).train()
        fill_losses(self.model)
        node = bench.cached_node(self.model, frames=loss is not None) if cached else bench.node
        self.dataset = instantiate_from_config(node, "data")
        self.rows = [range(i, min(i + micro_batch, pairs)) for i in range(0, pairs, micro_batch)]
        self.model.configure_model()
        self.optimizer = self.model.configure_optimizers()["optimizer"]
        self.scaler = bench.scaler()
        self.calls: Counter = Counter()
        for label, network in self._networks().items():
            count_calls(label, network, self.calls)

    def _networks(self) -> dict[str, nn.Module]:
        first_stage = self.model.first_stage_model
        return {
            "U-Net": self.model.model,
            "VAE encoder": first_stage.encoder,
            "VAE decoder": first_stage.decoder,
            "text encoder": self.model.cond_stage_model,
        }

    def data(self) -> list[dict[str, Any]]:
        """All micro-batches, read and on the device."""
        return [self.bench.read(self.dataset, rows) for rows in self.rows]

    def encode(self, batches: list[dict[str, Any]]) -> list[tuple]:
        """Draws, latents and conditions of all micro-batches."""
        made = []
        with self.bench.autocast():
            for batch in batches:
                draws = self.model.draw(batch)
                made.append((batch, draws, *self.model.get_input(batch, draws, self.model.conditioning_dropout)))
        return made

    def _terms(self, batch: Mapping, draws: Any) -> Callable[[Tensor], Any]:
        return lambda start: self.model.frame_terms(start, draws.t, batch, draws.generators[0])

    def learn(self, encoded: list[tuple], *, with_hooks: bool = True) -> float:
        """Forward and backward passes of all micro-batches; the mean loss."""
        total = 0.0
        for batch, draws, x_start, cond in encoded:
            hook = self._terms(batch, draws) if with_hooks and self.model.frame_loss is not None else None
            with self.bench.autocast():
                loss = self.model.p_losses(x_start, cond, draws.t, draws.eps, hook).loss / len(encoded)
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        return total

    def run_hooks(self, encoded: list[tuple]) -> None:
        """The loss hooks alone: forward pass from a clean latent, and backward pass to it."""
        for batch, draws, x_start, _ in encoded:
            start = x_start.detach().float().requires_grad_(True)
            with self.bench.autocast():
                total = self._terms(batch, draws)(start).total
            total.backward()

    def optimise(self) -> None:
        """AdamW."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def step(self) -> float:
        """One optimiser step."""
        self.calls.clear()
        loss = self.learn(self.encode(self.data()))
        self.optimise()
        return loss

    def case(self, name: str) -> Case:
        """For the benchmark."""
        batches = self.data()
        encoded = self.encode(batches)

        def optimise() -> None:  # the gradients of the part before it are there, and stay
            self.scaler.step(self.optimizer)
            self.scaler.update()

        parts: dict[str, Callable[[], object]] = {
            "data": self.data,
            "encode": lambda: self.encode(batches),
            "U-Net": lambda: self.learn(encoded, with_hooks=False),
            "loss hooks": lambda: self.run_hooks(encoded),
            "optimiser": optimise,
        }
        if self.model.frame_loss is None:
            del parts["loss hooks"]
        trained = sum(p.numel() for p in self.model.trained_parameters())
        return Case(name, self.step, self.calls, parts, trained, self.pairs)


def fill_losses(model: Any) -> None:
    """Random weights for the image loss's own networks; a tiny decoder keeps those that it was made with."""
    for module in model.frame_loss.modules() if model.frame_loss is not None else ():
        if module is not model.frame_loss and hasattr(module, "load_weights"):
            module.load_weights()


def count_calls(label: str, network: nn.Module, calls: Counter) -> None:
    """Count forward passes of a network under a label."""
    network.register_forward_pre_hook(lambda *_: calls.update([label]))


def make_diffusers(size: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """diffusers' U-Net, which trains, and its VAE, which is frozen, of the sizes of ours.

    Raises:
        ImportError: if diffusers is not installed.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    mult, width = size["unet"]["channel_mult"], size["unet"]["model_channels"]
    attends = [2**i in size["unet"]["attention_resolutions"] for i in range(len(mult))]
    unet = UNet2DConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=[width * m for m in mult],
        layers_per_block=size["blocks"],
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        cross_attention_dim=size["text"]["width"],
        attention_head_dim=size["unet"]["num_heads"],
    )
    shape = size["first_stage"]
    vae = AutoencoderKL(
        block_out_channels=[shape["ch"] * m for m in shape["ch_mult"]],
        down_block_types=["DownEncoderBlock2D"] * len(shape["ch_mult"]),
        up_block_types=["UpDecoderBlock2D"] * len(shape["ch_mult"]),
        layers_per_block=shape["num_res_blocks"],
    )
    return unet, vae.requires_grad_(False).eval()


class DiffusersStep:
    """A step as diffusers' train_instruct_pix2pix.py makes it, on diffusers' own U-Net and VAE: online, 2 x 8.

    Args:
        bench: device, precision, size and data; frozen networks are cast, the U-Net runs under autocast, as there.
    """

    def __init__(self, bench: Bench) -> None:
        from diffusers import DDPMScheduler

        torch.manual_seed(0)
        self.bench = bench
        self.unet, vae = (network.to(bench.device) for network in make_diffusers(bench.size))
        self.vae = vae.to(bench.dtype) if bench.is_mixed else vae
        node = {"target": "ldm.modules.encoders.modules.ByteTextEmbedder", "params": dict(bench.size["text"])}
        self.text = instantiate_from_config(node).to(bench.device, bench.dtype).requires_grad_(False).eval()
        self.schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=1e-4)
        self.scaler = bench.scaler()
        self.dataset, self.calls = instantiate_from_config(bench.node, "data"), Counter()
        networks = {"U-Net": self.unet, "VAE encoder": self.vae.encoder, "text encoder": self.text}
        for label, network in networks.items():
            count_calls(label, network, self.calls)

    def data(self) -> list[dict[str, Any]]:
        """All micro-batches, read and on the device."""
        size = PLAIN_MICRO_BATCH
        return [self.bench.read(self.dataset, range(i, min(i + size, PAIRS))) for i in range(0, PAIRS, size)]

    def micro_step(self, batch: Mapping[str, Any]) -> Tensor:
        """() loss of some of the pairs."""
        source, target = (batch[name].to(self.bench.dtype) for name in ("source_frame", "target_frame"))
        latents = self.vae.encode(target).latent_dist.sample() * SCALE_FACTOR
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
        """One optimiser step over the 16 pairs."""
        self.calls.clear()
        total = 0.0
        for batch in self.data():
            loss = self.micro_step(batch) * len(batch["instruction"]) / PAIRS
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return total


def diffusers_case(bench: Bench, name: str = PEER) -> Case:
    """The peer, for the benchmark.

    Raises:
        ImportError: if diffusers is not installed.
    """
    made = DiffusersStep(bench)
    parameters = sum(p.numel() for p in made.unet.parameters())
    return Case(name, made.step, made.calls, {"data": made.data}, parameters, PAIRS)
