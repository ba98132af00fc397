"""The gated image loss against the exact one: agreement of gradients over noise levels, and cost in U-Net steps.

    python -m benchmark image_loss --output metrics/results     the small twin, random weights
    python -m benchmark image_loss --ckpt <checkpoint> --data <prepared folder> --tiny-decoder <file>

The modes are those of ldm.modules.losses.frame_loss.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.agreement import (
    Agreement,
    count_costs,
    loss_step,
    make_modes,
    make_noise,
    measure_batches,
    measure_levels,
    predict,
    takes_tiny_decoder,
    unet_step,
)
from benchmark.measuring import machine_facts, median_seconds, own_device, read_size
from benchmark.training_steps import image_loss, tiny_decoder
from commands.errors import UserError
from formats.atomic import write_json, write_text
from ldm.data.frame_pairs import FramePairDataset, collate
from ldm.training.build import build_trained_model
from ldm.training.config import compose
from ldm.util import instantiate_from_config
from prediction.load import find_config
from stable_diffusion.checkpoint import load_pretrained

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
READING = (
    "Cosines are between gradients with respect to the network's output. *One draw*: a random square as training takes "
    "it, mean ± standard deviation over pairs and squares. *Mean of draws*: the squares of a pair averaged, mean ± "
    "standard deviation over pairs; what is short of 1 there is bias, not chance. *Length*: of that mean along the "
    "exact gradient; 1 where the term weighs as much as the exact one. A decoder with group normalisation or attention "
    "makes something else of a square than of the whole, the more so the smaller the latent; a tiny decoder has "
    "neither."
)


@dataclass(frozen=True)
class ImageLossRequest:
    """What is to be measured.

    Args:
        config: a model of the user's own; None takes the one beside the checkpoint, or the small twin.
        ckpt: its weights.
        data, split: prepared folder of frames; None takes noise.
        tiny_decoder: file of a tiny decoder; None only counts what one costs.
        crop: side of the square of the latent; None takes the config's, or half.
        pairs: of a batch.
        crops: random squares a pair.
        batches: whole batches.
        rounds: of timing.

    Raises:
        UserError: if a number makes no sense.
    """

    config: Path | None = None
    ckpt: Path | None = None
    data: Path | None = None
    split: str = "val"
    tiny_decoder: Path | None = None
    crop: int | None = None
    pairs: int = 16
    crops: int = 8
    batches: int = 4
    rounds: int = 3

    def __post_init__(self) -> None:
        for name in ("pairs", "crops", "batches", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: wanted at least 1.")
        if self.ckpt is not None and self.config is None and find_config(self.ckpt) is None:
            raise UserError(f"there is no config.yaml beside {self.ckpt}; name one with --config.")
        if self.ckpt is not None and self.data is None:
            raise UserError("a trained model is measured on frames: give --data <prepared folder>.")


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, its config, the terms of its image loss, and frames."""

    name: str
    node: dict[str, Any]
    model: nn.Module
    terms: Mapping[str, Any]  # node of a FrameLoss
    batch: dict[str, Any]

    @property
    def side(self) -> int:
        """Side of a frame, in pixels."""
        return self.batch["target_frame"].shape[-1]


def make_subject(request: ImageLossRequest, device: torch.device) -> Subject:
    """The model that is asked for, in eval mode, with its frames."""
    torch.manual_seed(0)
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


def measure(subject: Subject, request: ImageLossRequest) -> dict[str, Any]:
    """Cosines of the modes that have weights, costs of all."""
    model, params, pairs = subject.model, subject.terms["params"], request.pairs
    shape, device = model.latent_shape(subject.batch["target_frame"]), subject.batch["target_frame"].device
    crop = request.crop or params.get("crop") or max(1, shape[-1] // 2)
    share = params.get("share", SHARE)
    weights = str(request.tiny_decoder) if request.tiny_decoder else None
    tiny = tiny_decoder(float(model.scale_factor), weights) if weights or takes_tiny_decoder(model) else None
    modes = make_modes(subject.terms, share, crop, tiny)
    losses = {name: instantiate_from_config(node, "frame_loss_config").to(device) for name, node in modes.items()}
    compared = {name: loss for name, loss in losses.items() if weights or loss.tiny_decoder is None}
    for loss in compared.values():
        loss.load_weights()
    context = predict(model, subject.batch, range(1), 0).context
    levels = measure_levels(model, compared, subject.batch, request.crops)
    batches = measure_batches(model, compared, subject.batch, request.crops, request.batches)
    costs = count_modes(subject.name, subject.node, modes, pairs, subject.side, context)
    steps = {"U-Net": unet_step(model, pairs, subject.side, context)}
    steps |= {name: loss_step(model, loss, pairs, subject.side) for name, loss in losses.items()}
    for row in costs["rows"]:
        row["seconds"], row["spread"] = median_seconds(steps[row["mode"]], request.rounds)
    return {
        "subject": subject.name,
        "trained": request.ckpt is not None,
        "trained_levels": len(model.levels),
        "timesteps": model.schedule.timesteps,
        "default_terms": not subject.node["params"].get("frame_loss_config"),
        "pairs": pairs,
        "side": subject.side,
        "latent": list(shape),
        "parameterization": model.parameterization,
        "share": share,
        "crops": request.crops,
        "batches": request.batches,
        "levels": [
            {"from": quarter.start, "to": quarter.stop, "modes": {name: asdict(a) for name, a in found.items()}}
            for quarter, found in levels
        ],
        "whole_batches": {name: asdict(a) for name, a in batches.items()},
        "costs": [costs, full_size_costs(pairs, share)],
    }


def full_size_costs(pairs: int, share: float) -> dict[str, Any]:
    """Counts at Stable Diffusion v1.5's size, LPIPS + L1, squares of half the latent's side."""
    config = read_size("full")
    params = config["model"]["params"]
    modes = make_modes(image_loss(), share, 16, tiny_decoder(params["scale_factor"]))
    text = params["cond_stage_config"]["params"]
    context = (text["max_length"], text["width"])
    return count_modes(FULL, config["model"], modes, pairs, config["resolution"], context)


def count_modes(
    name: str, node: Mapping, modes: Mapping, pairs: int, side: int, context: Sequence[int]
) -> dict[str, Any]:
    """Operations of the U-Net and of each mode, as rows."""
    counts = count_costs(node, modes, pairs, side, context)
    rows = [{"mode": m, "flop": n, "unet_steps": n / counts["U-Net"]} for m, n in counts.items()]
    return {"model": name, "pairs": pairs, "rows": rows}


def format_report(result: Mapping[str, Any]) -> str:
    """The tables as markdown."""
    machine = result["machine"]
    lines = [
        "# The gated image loss against the exact one",
        "",
        f"`{machine['command']}`",
        "",
        f"{machine['device']}, {machine['threads']} thread(s), load {machine['load']}, torch {machine['torch']}, "
        f"Python {machine['python']}, commit {machine['commit']}. Model: {result['subject']}, predicting "
        f"{result['parameterization']}; {result['pairs']} pairs of {result['side']} pixels, latents "
        f"{' x '.join(map(str, result['latent']))}, {result['crops']} squares each.",
        "",
        *_notes(result),
        "## Agreement",
        "",
        READING,
        "",
        "Pair by pair, every pair decoded; the noise levels in quarters:",
        "",
        *_agreement_table("timesteps", {f"{q['from']} to {q['to'] - 1}": q["modes"] for q in result["levels"]}),
        "",
        f"Whole batches of {result['pairs']} pairs, levels drawn from all, the {result['share']:.0%} with the least "
        f"noise decoded, as in training; {result['batches']} batches. The pairs that the gate leaves out have no "
        "gradient here: that is its purpose, and it lowers the cosine.",
        "",
        *_agreement_table("timesteps", {"all": result["whole_batches"]}),
        "",
        "## Cost",
        "",
        "Operations of a forward and a backward pass over the same pairs, counted on the meta device; a U-Net step is "
        "the U-Net's own, and the loss comes on top of it. Seconds are of the machine above, median ± half the range. "
        "The tiny decoder has its published width everywhere.",
    ]
    for cost in result["costs"]:
        lines += ["", f"{cost['model']}, {cost['pairs']} pairs:", "", *_cost_table(cost["rows"])]
    return "\n".join(lines) + "\n"


def _notes(result: Mapping[str, Any]) -> list[str]:
    """What limits the meaning of the cosines, each followed by an empty line."""
    said = [] if result["trained"] else [RANDOM]
    said += [OWN_TERMS] if result["default_terms"] else []
    if result["trained"] and result["trained_levels"] < result["timesteps"]:
        said.append(f"The model was trained at {result['trained_levels']} of its {result['timesteps']} noise levels.")
    return [line for sentence in said for line in (sentence, "")]


def _agreement_table(label: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    lines = [f"| {label} | mode | cosine, one draw | cosine, mean of draws | length |", "|---|---|---:|---:|---:|"]
    for name, modes in rows.items():
        for mode, values in modes.items():
            a = Agreement(**values)
            cells = [name, mode, f"{a.cosine:.3f} ± {a.spread:.3f}", f"{a.cosine_of_mean:.3f} ± {a.spread_of_mean:.3f}"]
            lines.append(f"| {' | '.join([*cells, f'{a.length:.2f}'])} |")
    return lines


def _cost_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    timed = "seconds" in rows[0]
    heads = ["", "GFLOP", "U-Net steps", *(["seconds", "in seconds of a U-Net step"] if timed else [])]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        cells = [row["mode"], f"{row['flop'] / 1e9:.1f}", f"{row['unet_steps']:.3f}"]
        if timed:
            share = row["seconds"] / rows[0]["seconds"]
            cells += [f"{row['seconds']:.3f} ± {row['spread'] / 2:.3f}", f"{share:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def make_parser() -> argparse.ArgumentParser:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark image_loss", description=__doc__.split("\n\n", maxsplit=1)[0]
    )
    add = parser.add_argument
    add("--config", type=Path, help="a model of your own; default: the small twin")
    add("--ckpt", type=Path, help="its weights; the config beside them is taken if --config is absent")
    add("--data", type=Path, help="prepared folder; default: noise")
    add("--split", default="val", help="of the prepared folder")
    add("--tiny-decoder", type=Path, help="file of a tiny decoder; without it, that is only counted")
    add("--crop", type=int, help="side of the square of the latent; default: the config's, or half")
    for name, number, what in (
        ("pairs", 16, "of a batch"),
        ("crops", 8, "random squares a pair"),
        ("batches", 4, "whole batches"),
        ("rounds", 3, "of timing"),
    ):
        add(f"--{name}", type=int, default=number, help=what)
    add("--output", type=Path, help="folder for <name>.json and <name>.md")
    add("--name", default="image_loss", help="of the two files")
    return parser


def main(argv: Sequence[str]) -> None:
    """Measure, print and write what is asked for."""
    options = vars(make_parser().parse_args(argv))
    output, name = options.pop("output"), options.pop("name")
    request, device = ImageLossRequest(**options), own_device()
    result = measure(make_subject(request, device), request) | {"machine": machine_facts(device)}
    text = format_report(result)
    if output:
        write_json(output / f"{name}.json", result)
        write_text(output / f"{name}.md", text)
    sys.stdout.write(text)
