"""The gated image loss against the exact one: agreement of gradients over noise levels, and cost in U-Net steps.

    python -m benchmark image_loss --output metrics/results     the small twin, random weights
    python -m benchmark image_loss --ckpt <checkpoint> --data <prepared folder> --tiny-decoder <file>

The modes are those of ldm.modules.losses.frame_loss. The library is reached by dotted path, as in configs.
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
    tiny_decoder,
    unet_step,
)
from benchmark.measuring import machine_facts
from benchmark.training import median_seconds
from benchmark.training_steps import SIZES, image_loss, model_config
from commands.errors import BAD_INPUT, UserError, sentence_for
from formats.atomic import write_json, write_text
from ldm.training.build import build_trained_model
from ldm.util import get_obj_from_str, instantiate_from_config

SHARE = 0.25  # of the batch that is decoded; FrameLoss's own
SMALL = SIZES["tiny"] | {"resolution": 64}  # 8 x 8 latents: room for a square of half the side
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
class Subject:
    """What is measured: a model, its config, the terms of its image loss, and frames."""

    name: str
    node: dict[str, Any]
    model: nn.Module
    terms: Mapping[str, Any]  # node of a FrameLoss
    batch: dict[str, Any]
    trained: bool

    @property
    def side(self) -> int:
        """Of a frame, in pixels."""
        return self.batch["target_frame"].shape[-1]


def make_subject(opt: argparse.Namespace, device: torch.device) -> Subject:
    """The model that the flags ask for, in eval mode, with its frames.

    Raises:
        ValueError: if a checkpoint comes without frames, or without a config.
    """
    torch.manual_seed(0)
    if opt.ckpt is None and opt.config is None:
        name, node, side = "small twin", model_config(SMALL), SMALL["resolution"]
    else:
        path = opt.config or get_obj_from_str("prediction.load.find_config")(opt.ckpt)
        if path is None:
            raise UserError(f"there is no config.yaml beside {opt.ckpt}; name one with --config.")
        config = get_obj_from_str("ldm.training.config.compose")([path])
        name, node, side = str(opt.ckpt or path), config["model"], config["resolution"]
    if opt.ckpt is not None and opt.data is None:
        raise UserError("a trained model is measured on frames: give --data <prepared folder>.")
    terms = node["params"].get("frame_loss_config") or image_loss("exact")
    model = build_trained_model(node | {"params": node["params"] | {"frame_loss_config": None}})
    if opt.ckpt is not None:
        get_obj_from_str("stable_diffusion.checkpoint.load_pretrained")(model, opt.ckpt, use_ema=True)
    batch = make_noise(opt.pairs, side, device) if opt.data is None else read_batch(opt, side, device)
    return Subject(name, node, model.eval().to(device), terms, batch, opt.ckpt is not None)


def read_batch(opt: argparse.Namespace, side: int, device: torch.device) -> dict[str, Any]:
    """Pairs of a prepared folder, drawn by a fixed seed."""
    data = get_obj_from_str("ldm.data.frame_pairs.FramePairDataset")(opt.data, opt.split, side, max_samples=opt.pairs)
    if len(data) < opt.pairs:
        raise UserError(f"{opt.data} has {len(data)} pairs in split {opt.split}, not {opt.pairs}; lower --pairs.")
    batch = get_obj_from_str("ldm.data.frame_pairs.collate")([data[i] for i in range(opt.pairs)])
    return {name: value.to(device) if name.endswith("frame") else value for name, value in batch.items()}


def measure(subject: Subject, opt: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Cosines of the modes that have weights, costs of all."""
    model, params = subject.model, subject.terms["params"]
    shape = model.latent_shape(subject.batch["target_frame"])
    crop = opt.crop or params.get("crop") or max(1, shape[-1] // 2)
    share, scale = params.get("share", SHARE), float(model.scale_factor)
    weights = str(opt.tiny_decoder) if opt.tiny_decoder else None
    tiny = tiny_decoder(scale, weights) if weights or takes_tiny_decoder(model) else None
    modes = make_modes(subject.terms, share, crop, tiny)
    losses = {name: instantiate_from_config(node, "frame_loss_config").to(device) for name, node in modes.items()}
    compared = {name: loss for name, loss in losses.items() if weights or loss.tiny_decoder is None}
    for loss in compared.values():
        loss.load_weights()
    context = predict(model, subject.batch, range(1), 0).context
    levels = measure_levels(model, compared, subject.batch, opt.crops)
    batches = measure_batches(model, compared, subject.batch, opt.crops, opt.batches)
    small = _costs(subject.name, subject.node, modes, opt.pairs, subject.side, context)
    small["rows"] = [row | _seconds(row["mode"], subject, losses, context, opt, device) for row in small["rows"]]
    return {
        "subject": subject.name,
        "trained": subject.trained,
        "trained_levels": len(model.levels),
        "timesteps": model.schedule.timesteps,
        "default_terms": not subject.node["params"].get("frame_loss_config"),
        "pairs": opt.pairs,
        "side": subject.side,
        "latent": list(shape),
        "parameterization": model.parameterization,
        "share": share,
        "crops": opt.crops,
        "batches": opt.batches,
        "levels": [
            {"from": quarter.start, "to": quarter.stop, "modes": {name: asdict(a) for name, a in found.items()}}
            for quarter, found in levels
        ],
        "whole_batches": {name: asdict(a) for name, a in batches.items()},
        "costs": [small, full_size_costs(opt.pairs, share)],
    }


def full_size_costs(pairs: int, share: float) -> dict[str, Any]:
    """Counts at Stable Diffusion v1.5's size, LPIPS + L1, squares of half the latent's side."""
    size = SIZES["full"]
    node = model_config(size)
    modes = make_modes(image_loss("exact"), share, 16, tiny_decoder(node["params"]["scale_factor"], None))
    context = (size["text"]["max_length"], size["text"]["width"])
    return _costs(FULL, node, modes, pairs, size["resolution"], context)


def _costs(name: str, node: Mapping, modes: Mapping, pairs: int, side: int, context: Sequence[int]) -> dict[str, Any]:
    counts = count_costs(node, modes, pairs, side, context)
    rows = [{"mode": m, "flop": n, "unet_steps": n / counts["U-Net"]} for m, n in counts.items()]
    return {"model": name, "pairs": pairs, "rows": rows}


def _seconds(
    mode: str,
    subject: Subject,
    losses: Mapping[str, nn.Module],
    context: Sequence[int],
    opt: argparse.Namespace,
    device: torch.device,
) -> dict[str, float]:
    if mode == "U-Net":
        step = unet_step(subject.model, opt.pairs, subject.side, context)
    else:
        step = loss_step(subject.model, losses[mode], opt.pairs, subject.side)
    seconds, spread = median_seconds(step, device, opt.rounds)
    return {"seconds": seconds, "spread": spread}


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
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark image_loss", description=__doc__.split("\n\n", maxsplit=1)[0]
    )
    parser.add_argument("--config", type=Path, help="a model of your own; default: the small twin")
    parser.add_argument("--ckpt", type=Path, help="its weights; the config beside them is taken if --config is absent")
    parser.add_argument("--data", type=Path, help="prepared folder; default: noise")
    parser.add_argument("--split", default="val", help="of the prepared folder")
    parser.add_argument("--tiny-decoder", type=Path, help="file of a tiny decoder; without it, that is only counted")
    parser.add_argument("--crop", type=int, help="side of the square of the latent; default: the config's, or half")
    parser.add_argument("--pairs", type=int, default=16, help="of a batch")
    parser.add_argument("--crops", type=int, default=8, help="random squares a pair")
    parser.add_argument("--batches", type=int, default=4, help="whole batches")
    parser.add_argument("--rounds", type=int, default=3, help="of timing")
    parser.add_argument("--output", type=Path, help="folder for <name>.json and <name>.md")
    parser.add_argument("--name", default="image_loss", help="of the two files")
    return parser


def run(argv: Sequence[str]) -> str:
    """Measure and write what is asked for; the tables.

    Raises:
        ValueError: if a number makes no sense, or what is asked for is not there.
    """
    opt = make_parser().parse_args(argv)
    for name in ("pairs", "crops", "batches", "rounds"):
        if getattr(opt, name) < 1:
            raise UserError(f"--{name} {getattr(opt, name)}: wanted at least 1.")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    result = measure(make_subject(opt, device), opt, device)
    result["machine"] = machine_facts(device)
    text = format_report(result)
    if opt.output:
        write_json(opt.output / f"{opt.name}.json", result)
        write_text(opt.output / f"{opt.name}.md", text)
    return text


def main(argv: Sequence[str]) -> int:
    """The command; 2 and one sentence where what is asked for is not there."""
    try:
        sys.stdout.write(run(argv))
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None:
            raise
        sys.stderr.write(sentence + "\n")
        return BAD_INPUT
    return 0
