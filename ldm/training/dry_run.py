"""--dry-run: what a config would train, at what cost, and what is missing on this machine. No tensor has contents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Group
from rich.table import Table

from formats.prepared_folder import FramePair, read_manifest
from formats.run_folder import RunFolder
from ldm.data.futures import EpisodeFutures
from ldm.data.latent_cache import CachedPairDataset
from ldm.data.mixture import Mixture
from ldm.data.windows import EpisodeWindows
from ldm.models.joint.training import TrainedJointVideoAction
from ldm.models.trained_model import TrainedModel
from ldm.training.build import build_trained_model
from ldm.training.checks import check_resolutions, data_command, data_doubts, how_to_prepare
from ldm.training.fit import accepted_trainer, build_callbacks, quiet_lightning
from ldm.training.joint_cost import measure_step
from ldm.training.keys import check_values, find
from ldm.training.launcher import count_processes, follow_launcher
from ldm.training.memory import estimate_memory
from ldm.training.strategy import ZERO, lightning_strategy
from ldm.util import check_config, get_obj_from_str, instantiate_from_config

SMALL_RUN = "try\n  python main.py --base configs/train.yaml configs/cpu_tiny.yaml"


def describe_dry_run(config: Mapping, gpus: Sequence[int] | None, missing_weights: list[str]) -> Group:
    """Parameters, loss, batch, memory and data of a run, and a command for each thing that is missing.

    Args:
        config: a composed config.
        gpus: indices that `--gpus` names.
        missing_weights: how to get each file of pretrained weights that is not there.

    Raises:
        UserError: for what the run itself would refuse.
    """
    quiet_lightning()
    check_values(config)
    check_config(config["data"], "data")
    params = config["data"]["params"]
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    check_resolutions(model, params)
    _check_parts(config)
    trainer = config["lightning"].get("trainer") or {}
    named = {"accelerator": "gpu", "devices": list(gpus)} if gpus else {}
    processes = count_processes(follow_launcher({**trainer, **named}))
    missing = [*missing_weights, *_missing_loss_weights(model)]
    pairs: dict[str, list[FramePair]] = {}
    tables = [
        _parts_table(model),
        _loss_table(model),
        _optimisation_table(config, processes),
        *([_memory_table(config, processes)] if params.get("train") and "resolution" in config else []),
        *([_step_table(config)] if isinstance(model, TrainedJointVideoAction) else []),
        _data_table(config, pairs, missing),
    ]
    said = [f"Mind: {doubt}" for doubt in data_doubts(config, pairs)]
    if config.get("prepare"):
        folder = find(params.get("train") or params.get("test") or {}, "params.folder") or "<output>"
        said.insert(0, f"Its data are made by: {data_command(config['prepare'], folder)}")
    found = torch.cuda.device_count()
    if gpus and max(gpus) >= found:
        on_cpu = trainer.get("accelerator") == "cpu"
        mend = "leave --gpus out: this config trains on the CPU" if on_cpu else SMALL_RUN
        missing.append(
            f"GPUs {', '.join(map(str, gpus))}: this machine has {found or 'none'}. Use one with GPUs, or {mend}"
        )
    verdict = "Missing to train:\n" + "\n".join(f"- {text}" for text in missing) if missing else "Ready to train."
    return Group(*tables, *said, verdict)


def _check_parts(config: Mapping) -> None:
    """Build what costs nothing to build, so that its constructors refuse now what they would refuse later.

    The Trainer is built for one process of this machine's CPU; devices and precision are looked at elsewhere.
    """
    lightning = config["lightning"]
    instantiate_from_config(config["data"], "data")
    for split in ("train", "validation", "test"):
        place = f"data.params.{split}.params.augmentation_config"
        if augmentation := find(config, place):
            instantiate_from_config(augmentation, place)
    build_callbacks(config, RunFolder(Path("logs")))
    trainer = {name: value for name, value in (lightning.get("trainer") or {}).items() if name != "precision"}
    here = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "logger": False, "enable_checkpointing": False}
    accepted_trainer(
        **lightning_strategy({**trainer, "enable_progress_bar": False, "enable_model_summary": False, **here})
    )


def _missing_loss_weights(model: TrainedModel) -> list[str]:
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


def _parts_table(model: TrainedModel) -> Table:
    table = _table("Model", "part", "parameters")
    parts = model.describe_parts()
    for name, count in parts.items():
        table.add_row(name, f"{count / 1e6:,.2f} M")
        if name == "U-Net":
            first = model.model.diffusion_model.input_blocks[0][0].weight
            extra = first[:, model.first_stage_model.latent_channels :]
            table.add_row(f"  of it: {extra.shape[1]} extra input channels", f"{extra.numel() / 1e6:,.2f} M")
    trained = sum(p.numel() for p in model.trained_parameters())
    table.add_row("trained", f"{trained / 1e6:,.2f} M")
    table.add_row("frozen", f"{(sum(parts.values()) - trained) / 1e6:,.2f} M")
    return table


def _loss_table(model: TrainedModel) -> Table:
    mode = getattr(model.frame_loss, "mode", None)
    table = _table(f"Loss{f', frames decoded {mode}' if mode else ''}", "term", "weight")
    for name, weight in model.loss_weights().items():
        table.add_row(name, f"{weight:g}")
    return table


def _optimisation_table(config: Mapping, processes: int) -> Table:
    trainer = config["lightning"].get("trainer") or {}
    batch, accumulate = config["data"]["params"]["batch_size"], trainer.get("accumulate_grad_batches", 1)
    table = _table("Optimisation", "setting", "value")
    table.add_row(
        "effective batch",
        f"{batch} x {accumulate} accumulated x {processes} device(s) = {batch * accumulate * processes}",
    )
    table.add_row("learning rate", f"{config['model']['params']['learning_rate']:g}")
    table.add_row("precision", str(trainer.get("precision", "32-true")))
    table.add_row(
        "length", f"{trainer.get('max_epochs') or '-'} epochs, {trainer.get('max_steps') or '-'} steps at most"
    )
    return table


def _memory_table(config: Mapping, processes: int) -> Table:
    """Estimated memory of each GPU, at the largest resolution that trains."""
    params = config["data"]["params"]
    sides = [side for _, side in params.get("resolutions") or ()]
    sides.append((params["train"].get("params") or {}).get("resolution") or config["resolution"])
    trainer = config["lightning"].get("trainer") or {}
    precision = str(trainer.get("precision", "32-true"))
    parts = estimate_memory(
        lambda: build_trained_model(config["model"]), params["batch_size"], max(sides), precision, processes
    )
    if trainer.get("strategy") == ZERO and "optimiser" in parts:
        parts["optimiser"] //= processes
    table = _table("Memory of each GPU, estimated; CUDA itself adds about 1 GiB", "part", "GiB")
    for name, size in parts.items():
        if size:
            table.add_row(name, f"{size / 2**30:,.2f}")
    table.add_row("together", f"{sum(parts.values()) / 2**30:,.2f}")
    return table


def _step_table(config: Mapping) -> Table:
    """Operations and memory of a micro-batch of a model of video and action."""
    data = config["data"]["params"]
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    cost = measure_step(model, data["batch_size"], count_more(data))
    table = _table("A micro-batch, by its shapes; in full precision, text encoder not counted", "what", "number")
    table.add_row("operations", f"{cost.flop / 1e9:,.1f} G")
    table.add_row("  of a sample", f"{cost.flop / data['batch_size'] / 1e9:,.2f} G")
    for name, size in cost.memory.items():
        table.add_row(name, f"{size / 2**30:,.2f} GiB")
    return table


def count_more(data: Mapping) -> int:
    """Windows without frames that come with each training window, of a mixture's part that has most; 0 where none do.

    Args:
        data: parameters of the data module.
    """
    train = find(data, "train.params") or {}
    parts = [find(part or {}, "params") or {} for part in (train.get("parts") or {}).values()]
    return max(node.get("more") or 0 for node in (train, *parts))


def _data_table(config: Mapping, pairs: dict[str, list[FramePair]], missing: list[str]) -> Table:
    """Counts of pairs; fills `pairs` by split and adds to `missing`."""
    table = _table("Data", "split", "pairs")
    for split in ("train", "validation", "test"):
        node = config["data"]["params"].get(split)
        if node is None:
            continue
        folder = node["params"].get("folder", "?")  # a mixture has none of its own
        try:
            if get_obj_from_str(node["target"]) is Mixture:
                _add_parts(table, split, instantiate_from_config(node, f"data.params.{split}"), pairs)
            else:
                table.add_row(split, _count_pairs(split, node, folder, pairs))
        except (FileNotFoundError, ValueError) as error:
            table.add_row(split, "missing")
            text = how_to_prepare(error, config)
            if text not in missing:
                missing.append(text)
    return table


def _add_parts(table: Table, split: str, mixture: Mixture, pairs: dict[str, list[FramePair]]) -> None:
    """A row for the mixture, and one for each part with its share of what trains."""
    pairs[split] = mixture.pairs
    table.add_row(split, f"{len(mixture):,} of {len(mixture.parts)} parts")
    for name, part in mixture.parts.items():
        table.add_row(f"  {name}", f"{mixture.shares[name]:.1%} of each batch, from {len(part):,}")


def _count_pairs(split: str, node: Mapping, folder: str, pairs: dict[str, list[FramePair]]) -> str:
    if get_obj_from_str(node["target"]) is CachedPairDataset:
        cache = CachedPairDataset(folder)
        return f"{len(cache):,} as latents, in {cache.key['variants']} variant(s), in {folder}"
    if issubclass(get_obj_from_str(node["target"]), EpisodeWindows):
        windows = instantiate_from_config(node, f"data.params.{split}")
        return f"{len(windows):,} windows of {windows.num_episodes} episodes in {folder}"
    if get_obj_from_str(node["target"]) is EpisodeFutures:
        futures = instantiate_from_config(node, f"data.params.{split}")
        return f"{len(futures):,} frames of {len(futures.source.episodes)} episodes in {folder}"
    pairs[split] = read_manifest(folder, node["params"].get("split"))
    return f"{len(pairs[split]):,} in {folder}"
