"""The training steps that the benchmark times: ours, the papers' plain recipe, and diffusers' loop. Layer 1.

Each case makes one optimiser step over the same 16 pairs, and counts how often it calls each network. The models are
named in a config, as everywhere; diffusers is imported only where its case is asked for.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm.util import instantiate_from_config

PAIRS = 16  # of one optimiser step, in every case
PLAIN_MICRO_BATCH = 2  # afp and morpheus: 2 x 8
PEER = "diffusers' loop, online, 2 x 8"

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


def model_config(size: Mapping[str, Any], frame_loss: Mapping | None = None) -> dict:
    """Node of a LatentDiffusion of Stable Diffusion's kind; bytes stand for CLIP's tokens, which need a download."""
    return {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "learning_rate": 1e-4,
            "timesteps": 1000,
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "scale_factor": 0.18215,
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
        },
    }


def image_loss(mode: str) -> dict:
    """Node of LPIPS + L1 with a trunk of seeded random weights; its speed is that of the published ones."""
    lpips = {"target": "ldm.modules.losses.lpips.LPIPS", "params": {"weights": None}}
    params = {"mode": mode, "lambda_lpips": 0.1, "lambda_l1": 0.1, "lpips_config": lpips}
    crop = {"crop": 16} if mode == "gated" else {}
    return {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": params | crop}


def make_batch(size: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """16 pairs of seeded noise; speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    side = size["resolution"]
    source, target = torch.rand(2, PAIRS, 3, side, side, generator=generator) * 2 - 1
    return {
        "source_frame": source.to(device),
        "target_frame": target.to(device),
        "instruction": ["stack blocks"] * PAIRS,
        "pair_id": [str(i) for i in range(PAIRS)],
        "seed": torch.arange(PAIRS),
    }


@dataclass
class Case:
    """One way of making an optimiser step."""

    name: str
    step: Callable[[], float]  # one optimiser step; the loss
    calls: Counter  # network: calls, of the last step
    parts: dict[str, Callable[[], object]]  # pieces of the step that can be timed alone
    parameters: int  # that train


class OurStep:
    """A step of this project's model.

    Args:
        size: of SIZES.
        micro_batch: pairs of a forward pass.
        cached: train from latents and embedded sentences that were made before.
        loss: mode of the image loss, or None for the loss on the noise alone.
        device: to run on.
    """

    def __init__(
        self, size: Mapping[str, Any], micro_batch: int, cached: bool, loss: str | None, device: torch.device
    ) -> None:
        torch.manual_seed(0)
        node = model_config(size, image_loss(loss) if loss else None)
        self.model = instantiate_from_config(node, "model").to(device).train()
        self.model.setup("fit")
        self.device = device
        self.optimizer = torch.optim.AdamW(self.model.trained_parameters(), lr=1e-4, fused=True)
        batch = make_batch(size, device)
        batch = self._encoded(batch, keep_frames=loss is not None) if cached else batch
        self.micro_batches = [
            {name: value if name == "null_text" else value[i : i + micro_batch] for name, value in batch.items()}
            for i in range(0, PAIRS, micro_batch)
        ]
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

    @torch.no_grad()
    def _encoded(self, batch: dict[str, Any], *, keep_frames: bool) -> dict[str, Any]:
        posterior = self.model.first_stage_model.encode(batch["target_frame"])
        latents = {
            "source_latent": self.model.encode_context(batch["source_frame"]),
            "target_mean": posterior.mean,
            "target_std": posterior.std,
            "text": self.model.encode_instruction(batch["instruction"]),
            "null_text": self.model.encode_instruction([""]),
        }
        dropped = () if keep_frames else ("source_frame", "target_frame")
        return {name: value for name, value in batch.items() if name not in dropped} | latents

    def encode(self) -> list[tuple]:
        """Draws, latents and conditions of all micro-batches."""
        made = []
        for batch in self.micro_batches:
            draws = self.model.draw(batch)
            made.append((batch, draws, *self.model.get_input(batch, draws, self.model.conditioning_dropout)))
        return made

    def learn(self, encoded: list[tuple]) -> float:
        """Forward and backward passes of all micro-batches; the mean loss."""
        total = 0.0
        for batch, draws, x_start, cond in encoded:

            def terms(start: Tensor, batch: dict = batch, draws: Any = draws) -> Any:
                return self.model.frame_terms(start, draws.t, batch, draws.generators[0])

            hook = terms if self.model.frame_loss is not None else None
            loss = self.model.p_losses(x_start, cond, draws.t, draws.eps, hook).loss / len(encoded)
            loss.backward()
            total += float(loss.detach())
        return total

    def optimise(self) -> None:
        """AdamW."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self) -> float:
        """One optimiser step over the 16 pairs."""
        self.calls.clear()
        loss = self.learn(self.encode())
        self.optimise()
        return loss

    def case(self, name: str) -> Case:
        """For the benchmark."""
        encoded = self.encode()
        parts = {"encode": self.encode, "U-Net and losses": lambda: self.learn(encoded), "optimiser": self.optimise}
        return Case(name, self.step, self.calls, parts, sum(p.numel() for p in self.model.trained_parameters()))


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
        size: of SIZES.
        device: to run on.
    """

    def __init__(self, size: Mapping[str, Any], device: torch.device) -> None:
        from diffusers import DDPMScheduler

        torch.manual_seed(0)
        self.unet, self.vae = (network.to(device) for network in make_diffusers(size))
        node = {"target": "ldm.modules.encoders.modules.ByteTextEmbedder", "params": dict(size["text"])}
        self.text = instantiate_from_config(node).to(device).requires_grad_(False).eval()
        self.schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=1e-4)
        self.batch, self.calls = make_batch(size, device), Counter()
        networks = {"U-Net": self.unet, "VAE encoder": self.vae.encoder, "text encoder": self.text}
        for label, network in networks.items():
            count_calls(label, network, self.calls)

    def micro_step(self, rows: slice) -> Tensor:
        """() loss of some of the pairs."""
        source, target = self.batch["source_frame"][rows], self.batch["target_frame"][rows]
        latents = self.vae.encode(target).latent_dist.sample() * 0.18215
        noise = torch.randn_like(latents)
        t = torch.randint(0, 1000, (len(latents),), device=latents.device)
        noisy = self.schedule.add_noise(latents, noise, t)
        states, null = self.text(self.batch["instruction"][rows]), self.text([""])
        context = self.vae.encode(source).latent_dist.mode()
        chance = torch.rand(len(latents), 1, 1, 1, device=latents.device)
        states = torch.where(chance[..., 0] < 0.1, null, states)
        context = context * (1 - ((chance >= 0.05) & (chance < 0.15)).to(context))
        return F.mse_loss(self.unet(torch.cat([noisy, context], dim=1), t, states).sample.float(), noise.float())

    def step(self) -> float:
        """One optimiser step over the 16 pairs."""
        self.calls.clear()
        total = 0.0
        for i in range(0, PAIRS, PLAIN_MICRO_BATCH):
            loss = self.micro_step(slice(i, i + PLAIN_MICRO_BATCH)) * PLAIN_MICRO_BATCH / PAIRS
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


def diffusers_case(size: Mapping[str, Any], device: torch.device) -> Case:
    """The peer, for the benchmark.

    Raises:
        ImportError: if diffusers is not installed.
    """
    made = DiffusersStep(size, device)
    return Case(PEER, made.step, made.calls, {}, sum(p.numel() for p in made.unet.parameters()))
