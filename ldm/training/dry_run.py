"""--dry-run: what a config would train, and what is missing on this machine. Builds on the meta device."""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Group
from rich.table import Table

from formats.prepared_folder import FramePair, read_manifest
from ldm.data.latent_cache import CachedPairDataset
from ldm.training.build import build_trained_model
from ldm.training.checks import check_resolutions, pairs_doubts, resolution_doubts
from ldm.training.launcher import count_processes, follow_launcher
from ldm.util import check_config, get_obj_from_str


def describe_run(config: Mapping, gpus: list[int] | None, missing_weights: list[str]) -> Group:
    """Parameters by part, data, effective batch, and a command for each thing that is missing.

    Args:
        config: a composed config.
        gpus: indices that `--gpus` names.
        missing_weights: how to get each file of pretrained weights that is not there.
    """
    check_config(config["data"], "data")
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    check_resolutions(model, config["data"]["params"])
    missing = [*missing_weights, *_missing_loss_weights(model)]
    pairs: dict[str, list[FramePair]] = {}
    tables = [
        _parts_table(model.describe_parts(), model),
        _batch_table(config, gpus),
        _data_table(config["data"]["params"], pairs, missing),
    ]
    doubts = resolution_doubts(config)
    doubts += pairs_doubts(pairs.get("train", []), pairs.get("validation", []), config.get("horizon"))
    found = torch.cuda.device_count()
    if gpus and max(gpus) >= found:
        missing.append(
            f"GPUs {', '.join(map(str, gpus))}: this machine has {found or 'none'}. Run on one that has them, or try\n"
            "  python main.py --base configs/train.yaml configs/cpu_tiny.yaml"
        )
    verdict = "Missing to train:\n" + "\n".join(f"- {text}" for text in missing) if missing else "Ready to train."
    return Group(*tables, *(f"Mind: {doubt}" for doubt in doubts), verdict)


def _missing_loss_weights(model: pl.LightningModule) -> list[str]:
    """How to get each file that the losses' own networks want and that is not there."""
    if model.frame_loss is None:
        return []
    missing = []
    tiny = getattr(model.frame_loss, "tiny_decoder", None)  # hidden from modules(), as it is in no checkpoint
    for module in (*model.frame_loss.modules(), *(tiny.network.modules() if tiny is not None else ())):
        file = getattr(module, "weights", None)
        if isinstance(file, str) and not Path(file).is_file():
            try:
                module.load_weights()
            except FileNotFoundError as error:
                missing.append(str(error))
    return list(dict.fromkeys(missing))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _parts_table(parts: dict[str, int], model: pl.LightningModule) -> Table:
    table = _table("Model", "part", "parameters")
    for name, count in parts.items():
        table.add_row(name, f"{count / 1e6:,.2f} M")
        if name == "U-Net":
            first = model.model.diffusion_model.input_blocks[0][0].weight
            extra = first[:, model.first_stage_model.latent_channels :]
            table.add_row(f"  of it: {extra.shape[1]} extra input channels", f"{extra.numel() / 1e6:,.2f} M")
    table.add_row("trained", f"{sum(p.numel() for p in model.trained_parameters()) / 1e6:,.2f} M")
    return table


def _batch_table(config: Mapping, gpus: list[int] | None) -> Table:
    trainer = config["lightning"]["trainer"]
    on_gpus = {"accelerator": "gpu", "devices": gpus} if gpus else {}
    batch, accumulate = config["data"]["params"]["batch_size"], trainer.get("accumulate_grad_batches", 1)
    devices = count_processes(follow_launcher({**trainer, **on_gpus}))
    table = _table("Optimisation", "setting", "value")
    table.add_row(
        "effective batch", f"{batch} x {accumulate} accumulated x {devices} device(s) = {batch * accumulate * devices}"
    )
    table.add_row("learning rate", f"{config['model']['params']['learning_rate']:g}")
    table.add_row("precision", str(trainer.get("precision", "32-true")))
    table.add_row(
        "length", f"{trainer.get('max_epochs') or '-'} epochs, {trainer.get('max_steps') or '-'} steps at most"
    )
    return table


def _data_table(params: Mapping, pairs: dict[str, list[FramePair]], missing: list[str]) -> Table:
    """Counts of pairs; fills `pairs` by split and adds to `missing`."""
    table = _table("Data", "split", "pairs")
    for split in ("train", "validation", "test"):
        node = params.get(split)
        if node is None:
            continue
        folder = node["params"].get("folder", "?")
        try:
            table.add_row(split, _count_pairs(split, node, folder, pairs))
        except (FileNotFoundError, ValueError) as error:
            table.add_row(split, "missing")
            if str(error) not in missing:
                missing.append(str(error))
    return table


def _count_pairs(split: str, node: Mapping, folder: str, pairs: dict[str, list[FramePair]]) -> str:
    if get_obj_from_str(node["target"]) is CachedPairDataset:
        cache = CachedPairDataset(folder)
        return f"{len(cache):,} as latents, in {cache.key['variants']} variant(s), in {folder}"
    pairs[split] = read_manifest(folder, node["params"].get("split"))
    return f"{len(pairs[split]):,} in {folder}"
