"""The gated image loss against the exact one: agreement of gradients over noise levels, and cost in U-Net steps.

    python -m benchmark image_loss --output metrics/results/losses     the small twin, random weights
    python -m benchmark image_loss --ckpt <checkpoint> --data <prepared folder> --tiny-decoder <file>

Agreement is between gradients with respect to the network's output: what reaches the network, whatever its size. Cost
is counted in multiply-adds on the meta device, so that it needs neither weights nor time, and told in steps of the
U-Net: a forward and a backward pass over the same pairs. The modes are those of ldm.modules.losses.frame_loss.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.measuring import count_flop, machine_facts, median_seconds
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request
from benchmark.training_steps import image_loss, tiny_decoder
from benchmark.workload import read_size
from commands.errors import UserError
from formats.run_folder import find_config
from ldm.data.frame_pairs import FramePairDataset, collate
from ldm.training.build import build_trained_model
from ldm.training.config import compose
from ldm.util import instantiate_from_config
from stable_diffusion.load import load_pretrained

QUARTERS = 4  # of the noise levels
SEED = 0
LATE = 10**9  # an optimiser step after every warm-in, so that all terms are counted
TINY_CHANNELS, TINY_FACTOR = 4, 8  # of the latents that TAESD's layout decodes
OPTIONS = ("mode", "crop", "share", "tiny_decoder_config")  # of FrameLoss: what tells the modes apart
SHARE = 0.25  # of the batch that is decoded; FrameLoss's own
SMALL_SIDE = 64  # pixels of the small twin: 8 x 8 latents have room for a square of half the side
FULL = "Stable Diffusion v1.5, 256 x 256 pixels"
RANDOM = (
    "The weights are random: the cosines say only how well a square, or a share of the batch, estimates the full "
    "gradient through a random decoder. Nothing follows for a trained model; measure one with --ckpt and --data."
)
OWN_TERMS = (
    "The config names no image loss: the terms are LPIPS + L1, 0.1 each, LPIPS in the features of a trunk with seeded "
    "random weights."
)
MEAN, LENGTH = "cosine, mean of draws", "length"
PAIRWISE = "Agreement, pair by pair, every pair decoded"
WHOLE = "Agreement of whole batches, the share with the least noise decoded, as in training"
READING = (
    "Agreement is the cosine between gradients with respect to the network's output: of one draw, a random square as "
    "training takes it, with its standard deviation over pairs and squares; and of the mean over a pair's squares, "
    "where what is short of 1 is bias, not chance. *Length*: of that mean along the exact gradient; 1 where the term "
    "weighs as much as the exact one. A decoder with group normalisation or attention makes something else of a "
    "square than of the whole, the more so the smaller the latent; a tiny decoder has neither. In whole batches the "
    "pairs that the gate leaves out have no gradient: that is its purpose, and it lowers the cosine."
)
COUNTING = (
    "Cost is of a forward and a backward pass over the same pairs, operations counted on the meta device; a U-Net step "
    "is the U-Net's own, and the loss comes on top of it. The tiny decoder has its published width everywhere."
)


@dataclass(frozen=True)
class ImageLossRequest(Request):
    """What is to be measured."""

    config: Path | None = flag(None, "a model of your own; default: the small twin")
    ckpt: Path | None = flag(None, "its weights; the config beside them is taken if --config is absent")
    data: Path | None = flag(None, "prepared folder; default: noise")
    split: str = flag("val", "of the prepared folder")
    tiny_decoder: Path | None = flag(None, "file of a tiny decoder; without it, that is only counted")
    crop: int | None = flag(None, "side of the square of the latent; default: the config's, or half")
    pairs: int = flag(16, "of a batch")
    crops: int = flag(8, "random squares a pair")
    batches: int = flag(4, "whole batches")
    rounds: int = flag(3, "of timing")
    output: Path | None = flag(None, "folder for <name>.json and <name>.md")
    name: str = flag("image_loss", "of the two files")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ckpt is not None and self.config is None and find_config(self.ckpt) is None:
            raise UserError(f"there is no config.yaml beside {self.ckpt}; name one with --config.")
        if self.ckpt is not None and self.data is None:
            raise UserError("a trained model is measured on frames: give --data <prepared folder>.")


@dataclass(frozen=True)
class Scale:
    """How much one step takes in.

    Args:
        side: of a frame, in pixels.
        context: tokens of a sentence, their width.
    """

    pairs: int
    side: int
    context: Sequence[int]


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, its config, the terms of its image loss, and frames."""

    name: str
    node: dict[str, Any]
    model: nn.Module
    terms: Mapping[str, Any]  # node of a FrameLoss
    batch: dict[str, Any]


def make_subject(request: ImageLossRequest) -> Subject:
    """The model that is asked for, in eval mode, with its frames."""
    torch.manual_seed(0)
    device = request.device
    if request.ckpt is None and request.config is None:
        name, config = "small twin", read_size("tiny") | {"resolution": SMALL_SIDE}
    else:
        path = request.config or find_config(request.ckpt)
        name, config = str(request.ckpt or path), compose([path])
    node, side = config["model"], config["resolution"]
    terms = node["params"].get("frame_loss_config") or image_loss()
    model = build_trained_model(node | {"params": node["params"] | {"frame_loss_config": None}})
    if request.ckpt is not None:
        load_pretrained(model, request.ckpt, use_ema=True)
    batch = make_noise(request.pairs, side, device) if request.data is None else read_batch(request, side, device)
    return Subject(name, node, model.eval().to(device), terms, batch)


def read_batch(request: ImageLossRequest, side: int, device: torch.device) -> dict[str, Any]:
    """Pairs of a prepared folder, drawn by a fixed seed."""
    data = FramePairDataset(request.data, request.split, side, max_samples=request.pairs)
    if len(data) < request.pairs:
        raise UserError(
            f"{request.data} has {len(data)} pairs in split {request.split}, not {request.pairs}; lower --pairs."
        )
    batch = collate([data[i] for i in range(request.pairs)])
    return {name: value.to(device) if name.endswith("frame") else value for name, value in batch.items()}


@dataclass(frozen=True)
class Point:
    """A batch at given noise levels, and what the network says of it."""

    batch: dict[str, Any]
    t: Tensor  # (B,)
    x_t: Tensor  # (B, C, h, w)
    output: Tensor  # (B, C, h, w)
    context: tuple[int, int]  # tokens of a sentence, their width


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


def agree(exact: Tensor, cheap: Tensor, row: str, what: str) -> Row:
    """Agreement of gradients, exact (R, D) and cheap (draws, R, D), as a row of the table."""
    single = F.cosine_similarity(cheap, exact[None], dim=-1)
    mean = reduce(cheap, "k r d -> r d", "mean")
    of_mean = F.cosine_similarity(mean, exact, dim=-1)
    length = (mean * exact).sum(dim=-1) / (exact**2).sum(dim=-1)
    found = {MEAN: of_mean.mean(), f"{MEAN}, ±": of_mean.std(correction=0), LENGTH: length.mean()}
    counted = {name: round(float(value), 3) for name, value in found.items()}
    cosine, deviation = round(float(single.mean()), 3), round(float(single.std(correction=0)), 3)
    return Row(row, what, cosine, "", spread=deviation, counted=counted)


def open_gate(loss: nn.Module) -> nn.Module:
    """The same loss, sharing its networks, with every sample of the batch decoded."""
    opened = copy.copy(loss)
    opened.share = 1.0
    return opened


def draw_gradients(model: nn.Module, loss: nn.Module, point: Point, crops: int) -> Tensor:
    """(draws, B, D) gradients for `crops` random squares; one draw where the loss leaves nothing to chance."""
    draws = crops if loss.crop is not None else 1
    return torch.stack([gradient(model, loss, point, torch.Generator().manual_seed(SEED + i)) for i in range(draws)])


def measure_levels(model: nn.Module, losses: Mapping[str, nn.Module], batch: Mapping, crops: int) -> Iterator[Row]:
    """Pair by pair, the gate open: agreement of each mode in each quarter of the noise levels."""
    exact, *others = losses
    width = model.schedule.timesteps // QUARTERS
    for levels in (range(i * width, (i + 1) * width) for i in range(QUARTERS)):
        point = predict(model, batch, levels, SEED)
        wanted = gradient(model, losses[exact], point, torch.Generator())
        for name in others:
            found = draw_gradients(model, open_gate(losses[name]), point, crops)
            yield agree(wanted, found, f"t {levels.start:3} to {levels.stop - 1:3}", name)


def measure_batches(
    model: nn.Module, losses: Mapping[str, nn.Module], batch: Mapping, crops: int, batches: int
) -> Iterator[Row]:
    """Batch by batch, the gate as in training, noise levels drawn from all: agreement of each mode."""
    exact, *others = losses
    levels = range(model.schedule.timesteps)
    points = [predict(model, batch, levels, SEED + i * len(batch["instruction"])) for i in range(batches)]
    wanted = torch.stack([gradient(model, losses[exact], point, torch.Generator()).flatten() for point in points])
    for name in others:
        cheap = [draw_gradients(model, losses[name], point, crops) for point in points]
        yield agree(
            wanted, torch.stack([rearrange(draws, "k b d -> k (b d)") for draws in cheap], dim=1), "all t", name
        )


def unet_step(model: nn.Module, scale: Scale) -> Callable[[], None]:
    """A forward and a backward pass of the U-Net, on the model's device."""
    unet = model.model.diffusion_model
    device = next(unet.parameters()).device
    channels, *size = model.latent_shape(torch.empty(3, scale.side, scale.side, device="meta"))
    given = torch.zeros(scale.pairs, 2 * channels, *size, device=device)
    text = torch.zeros(scale.pairs, *scale.context, device=device)
    t = torch.zeros(scale.pairs, device=device).long()

    def step() -> None:
        unet(given, t, context=text).sum().backward()
        unet.zero_grad(set_to_none=True)

    return step


def loss_step(model: nn.Module, loss: nn.Module, scale: Scale) -> Callable[[], None]:
    """A forward and a backward pass of an image loss, from the predicted latents and back to them."""
    device, frame = next(model.parameters()).device, (3, scale.side, scale.side)
    shape = model.latent_shape(torch.empty(frame, device="meta"))
    latent = torch.zeros(scale.pairs, *shape, device=device, requires_grad=True)
    batch: dict[str, Any] = {"instruction": ["stack blocks"] * scale.pairs}
    batch |= {name: torch.zeros(scale.pairs, *frame, device=device) for name in ("source_frame", "target_frame")}

    def step() -> None:
        generator, order = torch.Generator().manual_seed(SEED), torch.arange(scale.pairs)
        loss(latent, model.first_stage_model.decode, order, batch, generator, LATE).total.backward()
        latent.grad = None

    return step


def make_steps(model: nn.Module, losses: Mapping[str, nn.Module], scale: Scale) -> dict[str, Callable[[], None]]:
    """What a step of the U-Net, and of each mode, does."""
    steps = {"U-Net": unet_step(model, scale)}
    return steps | {name: loss_step(model, loss, scale) for name, loss in losses.items()}


def make_losses(modes: Mapping[str, Mapping]) -> dict[str, nn.Module]:
    """The image loss of each mode, without weights."""
    return {name: instantiate_from_config(node, "frame_loss_config") for name, node in modes.items()}


def count_costs(node: Mapping, modes: Mapping[str, Mapping], scale: Scale) -> dict[str, int]:
    """Operations of a step of the U-Net and of each mode; `node` is the model's, and needs no weights."""
    with torch.device("meta"):
        steps = make_steps(build_trained_model(node), make_losses(modes), scale)
    return {name: count_flop(step) for name, step in steps.items()}


def full_size_costs(pairs: int, share: float) -> dict[str, int]:
    """Counts at Stable Diffusion v1.5's size, LPIPS + L1, squares of half the latent's side."""
    config = read_size("full")
    params = config["model"]["params"]
    modes = make_modes(image_loss(), share, 16, tiny_decoder(params["scale_factor"]))
    text = params["cond_stage_config"]["params"]
    return count_costs(config["model"], modes, Scale(pairs, config["resolution"], (text["max_length"], text["width"])))


def cost_rows(
    counts: Mapping[str, int], seconds: Mapping[str, tuple[float, float]] = MappingProxyType({})
) -> Iterator[Row]:
    """Operations, and median seconds with their spread where they are known; all in steps of the U-Net."""
    for name, count in counts.items():
        counted = {"GFLOP": count / 1e9, "U-Net steps": count / counts["U-Net"]}
        value, spread = seconds.get(name, (None, None))
        peer = seconds["U-Net"][0] if seconds else None
        yield Row("cost", name, value, "s", peer, "the U-Net's step", spread, counted=counted)


def measure(subject: Subject, request: ImageLossRequest) -> Table:
    """Cosines of the modes that have weights, costs of all."""
    model, params, frames = subject.model, subject.terms["params"], subject.batch["target_frame"]
    shape, share = model.latent_shape(frames), params.get("share", SHARE)
    weights = str(request.tiny_decoder) if request.tiny_decoder else None
    tiny = tiny_decoder(float(model.scale_factor), weights) if weights or takes_tiny_decoder(model) else None
    modes = make_modes(subject.terms, share, request.crop or params.get("crop") or max(1, shape[-1] // 2), tiny)
    losses = {name: loss.to(frames.device) for name, loss in make_losses(modes).items()}
    compared = {name: loss for name, loss in losses.items() if weights or loss.tiny_decoder is None}
    for loss in compared.values():
        loss.load_weights()
    facts = machine_facts(request.device) | {
        "model": subject.name,
        "parameterization": model.parameterization,
        "trained at": f"{len(model.levels)} of {model.schedule.timesteps} noise levels" if request.ckpt else "none",
        "batch": f"{request.pairs} pairs of {frames.shape[-1]} pixels, latents {' x '.join(map(str, shape))}",
        "squares a pair": request.crops,
        "share that is decoded": share,
    }
    said = [
        "" if request.ckpt else RANDOM,
        "" if subject.node["params"].get("frame_loss_config") else OWN_TERMS,
        READING,
        COUNTING,
    ]
    table = Table(
        "The gated image loss against the exact one", facts, request.output and request.output / request.name, *said
    )
    for row in measure_levels(model, compared, subject.batch, request.crops):
        table.add(row, PAIRWISE)
    for row in measure_batches(model, compared, subject.batch, request.crops, request.batches):
        table.add(row, WHOLE)
    scale = Scale(request.pairs, frames.shape[-1], predict(model, subject.batch, range(1), 0).context)
    steps = make_steps(model, losses, scale)
    seconds = {name: median_seconds(step, request.rounds) for name, step in steps.items()}
    for row in cost_rows(count_costs(subject.node, modes, scale), seconds):
        table.add(row, f"Cost, {subject.name}")
    for row in cost_rows(full_size_costs(request.pairs, share)):
        table.add(row, f"Cost, {FULL}")
    return table


def main(argv: Sequence[str]) -> None:
    """Measure, print and write what is asked for."""
    request = read_request(ImageLossRequest, argv, "image_loss", __doc__)
    sys.stdout.write(measure(make_subject(request), request).text)
