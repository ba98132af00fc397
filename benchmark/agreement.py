"""How far a cheap image loss agrees with the exact one, and what it costs.

Agreement is between gradients with respect to the network's output: what reaches the network, whatever its size. Cost
is counted in multiply-adds on the meta device, so that it needs neither weights nor time, and told in steps of the
U-Net: a forward and a backward pass over the same pairs.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.measuring import count_flop
from ldm.training.build import build_trained_model
from ldm.util import instantiate_from_config

QUARTERS = 4  # of the noise levels
SEED = 0
LATE = 10**9  # an optimiser step after every warm-in, so that all terms are counted
TINY_CHANNELS, TINY_FACTOR = 4, 8  # of the latents that TAESD's layout decodes
OPTIONS = ("mode", "crop", "share", "tiny_decoder_config")  # of FrameLoss: what tells the modes apart


@dataclass(frozen=True)
class Point:
    """A batch at given noise levels, and what the network says of it."""

    batch: dict[str, Any]
    t: Tensor  # (B,)
    x_t: Tensor  # (B, C, h, w)
    output: Tensor  # (B, C, h, w)
    context: tuple[int, int]  # tokens of a sentence, their width


@dataclass(frozen=True)
class Agreement:
    """How far the gradients of a cheap loss agree with those of the exact one."""

    cosine: float  # of one draw: mean over draws and rows
    spread: float  # its standard deviation
    cosine_of_mean: float  # of the mean over draws: mean over rows
    spread_of_mean: float
    length: float  # of the mean along the exact gradient; 1 where the loss weighs as much as the exact one


def make_modes(terms: Mapping, share: float, crop: int, tiny: Mapping | None) -> dict[str, dict]:
    """Nodes of FrameLoss by name, exact first.

    Args:
        terms: node of a FrameLoss, whose terms all modes share.
        share: of the batch that gated modes decode.
        crop: side of the square of the latent that they decode.
        tiny: node of a TinyDecoder, or None.
    """
    kept = {name: value for name, value in terms["params"].items() if name not in OPTIONS}
    gated: dict[str, dict] = {"gated, whole frames": {}, f"gated, {crop} x {crop} of the latent": {"crop": crop}}
    if tiny is not None:
        tiny_options = {"tiny_decoder_config": tiny}
        gated["gated, tiny decoder, whole frames"] = tiny_options
        gated[f"gated, tiny decoder, {crop} x {crop} of the latent"] = tiny_options | {"crop": crop}
    options = {"exact": {"mode": "exact"}}
    options |= {name: {"mode": "gated", "share": share, **own} for name, own in gated.items()}
    return {name: {"target": terms["target"], "params": kept | own} for name, own in options.items()}


def takes_tiny_decoder(model: nn.Module) -> bool:
    """Whether the latents of a model are of the shape that TAESD's layout decodes."""
    stage = model.first_stage_model
    return (stage.latent_channels, stage.downsampling_factor) == (TINY_CHANNELS, TINY_FACTOR)


def make_noise(pairs: int, side: int, device: torch.device) -> dict[str, Any]:
    """Pairs of seeded noise, for a model that knows no pictures either."""
    source, target = torch.rand(2, pairs, 3, side, side, generator=torch.Generator().manual_seed(SEED)) * 2 - 1
    frames = {"source_frame": source.to(device), "target_frame": target.to(device)}
    return frames | {"instruction": ["stack blocks"] * pairs, "pair_id": [str(i) for i in range(pairs)]}


@torch.no_grad()
def predict(model: nn.Module, batch: Mapping, levels: range, seed: int) -> Point:
    """The network's output for a batch, each pair at a timestep drawn from `levels`."""
    seeded = dict(batch) | {"seed": seed + torch.arange(len(batch["instruction"]))}
    draws = model.draw(seeded)
    generator = torch.Generator().manual_seed(seed)
    t = torch.randint(levels.start, levels.stop, draws.t.shape, generator=generator).to(draws.t)
    x_start, cond = model.get_input(seeded, draws, 0.0)
    x_t = model.q_sample(x_start, t, draws.eps)
    return Point(seeded, t, x_t, model.apply_model(x_t, t, cond).float(), tuple(cond.crossattn.shape[1:]))


def gradient(model: nn.Module, loss: nn.Module, point: Point, generator: torch.Generator) -> Tensor:
    """(B, D) gradient of an image loss with respect to the network's output, a row a pair."""
    output = point.output.detach().requires_grad_(True)
    start = model.schedule.start_from_output(model.parameterization, output, point.x_t, point.t)
    model.frame_loss = loss
    total = model.frame_terms(start, point.t, point.batch, generator).total
    return rearrange(torch.autograd.grad(total, output)[0], "b c h w -> b (c h w)")


def agree(exact: Tensor, cheap: Tensor) -> Agreement:
    """Agreement of gradients: exact (R, D), cheap (draws, R, D)."""
    single = F.cosine_similarity(cheap, exact[None], dim=-1)
    mean = reduce(cheap, "k r d -> r d", "mean")
    of_mean = F.cosine_similarity(mean, exact, dim=-1)
    length = (mean * exact).sum(dim=-1) / (exact**2).sum(dim=-1)
    numbers = (single.mean(), single.std(correction=0), of_mean.mean(), of_mean.std(correction=0), length.mean())
    return Agreement(*map(float, numbers))


def open_gate(loss: nn.Module) -> nn.Module:
    """The same loss, sharing its networks, with every sample of the batch decoded."""
    opened = copy.copy(loss)
    opened.share = 1.0
    return opened


def draw_gradients(model: nn.Module, loss: nn.Module, point: Point, crops: int) -> Tensor:
    """(draws, B, D) gradients for `crops` random squares; one draw where the loss leaves nothing to chance."""
    draws = crops if loss.crop is not None else 1
    return torch.stack([gradient(model, loss, point, torch.Generator().manual_seed(SEED + i)) for i in range(draws)])


def measure_levels(
    model: nn.Module, losses: Mapping[str, nn.Module], batch: Mapping, crops: int
) -> list[tuple[range, dict[str, Agreement]]]:
    """Pair by pair, the gate open: agreement of each mode in each quarter of the noise levels."""
    exact, *others = losses
    width = model.schedule.timesteps // QUARTERS
    rows = []
    for levels in (range(i * width, (i + 1) * width) for i in range(QUARTERS)):
        point = predict(model, batch, levels, SEED)
        wanted = gradient(model, losses[exact], point, torch.Generator())
        drawn = {name: draw_gradients(model, open_gate(losses[name]), point, crops) for name in others}
        rows.append((levels, {name: agree(wanted, gradients) for name, gradients in drawn.items()}))
    return rows


def measure_batches(
    model: nn.Module, losses: Mapping[str, nn.Module], batch: Mapping, crops: int, batches: int
) -> dict[str, Agreement]:
    """Batch by batch, the gate as in training, noise levels drawn from all: agreement of each mode."""
    exact, *others = losses
    levels = range(model.schedule.timesteps)
    points = [predict(model, batch, levels, SEED + i * len(batch["instruction"])) for i in range(batches)]
    wanted = torch.stack([gradient(model, losses[exact], point, torch.Generator()).flatten() for point in points])
    found = {}
    for name in others:
        cheap = [draw_gradients(model, losses[name], point, crops) for point in points]
        found[name] = agree(wanted, torch.stack([rearrange(draws, "k b d -> k (b d)") for draws in cheap], dim=1))
    return found


def unet_step(model: nn.Module, pairs: int, side: int, context: Sequence[int]) -> Callable[[], None]:
    """A forward and a backward pass of the U-Net over `pairs`, on the model's device."""
    unet = model.model.diffusion_model
    weight = next(unet.parameters())
    channels, height, width = model.latent_shape(torch.empty(3, side, side, device="meta"))
    given = torch.zeros(pairs, 2 * channels, height, width, device=weight.device)
    text = torch.zeros(pairs, *context, device=weight.device)
    t = torch.zeros(pairs, device=weight.device).long()

    def step() -> None:
        unet(given, t, context=text).sum().backward()
        unet.zero_grad(set_to_none=True)

    return step


def loss_step(model: nn.Module, loss: nn.Module, pairs: int, side: int) -> Callable[[], None]:
    """A forward and a backward pass of an image loss, from the predicted latents of `pairs` and back to them."""
    device = next(model.parameters()).device
    shape = model.latent_shape(torch.empty(3, side, side, device="meta"))
    latent = torch.zeros(pairs, *shape, device=device, requires_grad=True)
    frames = {name: torch.zeros(pairs, 3, side, side, device=device) for name in ("source_frame", "target_frame")}
    batch = frames | {"instruction": ["stack blocks"] * pairs}

    def step() -> None:
        generator = torch.Generator().manual_seed(SEED)
        total = loss(latent, model.first_stage_model.decode, torch.arange(pairs), batch, generator, LATE).total
        total.backward()
        latent.grad = None

    return step


def count_costs(
    model_node: Mapping, modes: Mapping[str, Mapping], pairs: int, side: int, context: Sequence[int]
) -> dict[str, int]:
    """Operations of a U-Net step ("U-Net") and of each mode over `pairs` frames of `side` pixels; needs no weights."""
    with torch.device("meta"):
        model = build_trained_model(model_node)
        losses = {name: instantiate_from_config(node, "frame_loss_config") for name, node in modes.items()}
        steps = {"U-Net": unet_step(model, pairs, side, context)}
        steps |= {name: loss_step(model, loss, pairs, side) for name, loss in losses.items()}
    return {name: count_flop(step) for name, step in steps.items()}
