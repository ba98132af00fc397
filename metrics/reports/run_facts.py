"""What a run of ours says beside a row of a paper's table, by the names that paper_numbers.yaml uses.

A name is one of FACTS, or "config:<dotted key>"; several joined by "|" are said one after the other. What a run does
not say is "-". Scores always say their convention: the papers' numbers are of another one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from metrics.comparison.table import ALL
from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.reports.runs import Results, Run, estimate_entries

ABSENT = "-"
TRACKED = ("loss", "ssim", "psnr", "memory", "utilization")  # in the names of curves


def find_fact(run: Run, source: str | None) -> str:
    """What a run says under a name, or under several joined by "|"; ABSENT where it says nothing."""
    if source is None:
        return ABSENT
    said = (_find_one(run, name) for name in source.split("|"))
    return ", ".join(text for text in said if text != ABSENT) or ABSENT


def _find_one(run: Run, name: str) -> str:
    kind, _, key = name.partition(":")
    return as_text(descend(run.config, key) if kind == "config" else FACTS[name](run))


def as_text(value: object) -> str:
    """A cell: "-" for None, four digits of a float."""
    if value is None or value == "":
        return ABSENT
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def descend(node: object, key: str) -> object:
    """Value under a dotted key of nested dictionaries; None where there is none."""
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def main_results(run: Run) -> Results | None:
    """The first table that has a system in it, the least deep one."""
    return next((results for results in run.results if results.systems), None)


def _part(run: Run) -> dict:
    """The last part of a run, which a resume begins anew."""
    parts = run.facts.get("parts") or [{}]
    return parts[-1]


def _devices(run: Run) -> str | None:
    part = _part(run)
    return f"{part.get('num_devices', 1)} x {part['device']}" if "device" in part else None


def _framework(run: Run) -> str | None:
    part = _part(run)
    versions = (
        f"{name} {part[key]}"
        for name, key in (("PyTorch Lightning", "pytorch_lightning"), ("torch", "torch"))
        if key in part
    )
    return ", ".join(versions) or None


def _batch(run: Run) -> str | None:
    """The effective batch with its arithmetic."""
    micro = descend(run.config, "data.params.batch_size")
    if not isinstance(micro, int):
        return None
    accumulated = descend(run.config, "lightning.trainer.accumulate_grad_batches") or 1
    devices = _part(run).get("num_devices", 1)
    return f"{micro} x {accumulated} accumulated x {devices} devices = {micro * accumulated * devices}"


def _optimizer(run: Run) -> str | None:
    rate = descend(run.config, "model.params.learning_rate")
    decay = descend(run.config, "model.params.weight_decay")
    return None if rate is None else f"AdamW, learning rate {rate:g}" + (f", weight decay {decay:g}" if decay else "")


def _epochs(run: Run) -> int | None:
    """Epochs that were trained, the last one perhaps in part."""
    values = run.curves["epoch"].values if "epoch" in run.curves else ()
    return int(max(values)) + 1 if values else None


def _epochs_text(run: Run) -> str | None:
    trained, wanted = _epochs(run), descend(run.config, "lightning.trainer.max_epochs")
    if trained is None:
        return as_text(wanted)
    return f"{trained}" + (f" of {wanted}" if isinstance(wanted, int) and wanted > trained else "")


def _seconds(run: Run) -> float | None:
    """Of all parts."""
    known = [part["seconds"] for part in run.facts.get("parts", ()) if part.get("seconds") is not None]
    return sum(known) if known else None


def _seconds_text(run: Run) -> str | None:
    seconds = _seconds(run)
    return None if seconds is None else f"{seconds / 3600:.4g} hours ({seconds:,.1f} seconds)"


def _epoch_seconds(run: Run) -> str | None:
    seconds, epochs = _seconds(run), _epochs(run)
    return f"{seconds / epochs:.4g} seconds an epoch" if seconds and epochs else None


def _unet(run: Run) -> str | None:
    shape = descend(run.config, "model.params.unet_config.params") or {}
    names = (("model_channels", "model channels"), ("num_heads", "attention heads"), ("context_dim", "context dim"))
    return ", ".join(f"{shape[key]} {name}" for key, name in names if key in shape) or None


def _vae(run: Run) -> str | None:
    target = descend(run.config, "model.params.first_stage_config.target")
    return f"{target.rpartition('.')[2]} ({_resolution(run)})" if isinstance(target, str) else None


def _resolution(run: Run) -> str | None:
    side = descend(run.config, "resolution")
    return f"{side}x{side}" if side else None


def _base_model(run: Run) -> object:
    start = descend(run.config, "pretrained")
    if "pretrained" in run.config and start is None:
        return "none, trained from scratch"
    return descend(start, "name") or descend(start, "path")


def _augmentation(run: Run) -> str | None:
    numbers = descend(run.config, "data.params.train.params.augmentation_config.params")
    return ", ".join(f"{name} {value}" for name, value in numbers.items()) if numbers else None


def _flip(run: Run) -> str | None:
    if not run.config:
        return None
    share = descend(run.config, "data.params.train.params.augmentation_config.params.flip") or 0
    return f"random flip {share:.0%}"


def _data(run: Run) -> str | None:
    results = main_results(run)
    folder = results.table["provenance"]["data"] if results else descend(run.config, "data.params.train.params.folder")
    return Path(folder).name if folder else None


def _tasks(run: Run) -> str | None:
    results = main_results(run)
    return ", ".join(sorted({entry["group"] for entry in results.pairs})) if results else None


def _max_samples(run: Run) -> str | None:
    if not run.config:
        return None
    return str(descend(run.config, "data.params.train.params.max_samples"))


def _millions(count: object) -> str | None:
    return f"{count / 1e6:.4g}M" if isinstance(count, int | float) else None


def _peak_memory(run: Run) -> str | None:
    """Of one GPU while training."""
    names = [name for name in run.curves if "gpu" in name and "mem" in name]
    peaks = [name for name in names if "peak" in name] or names
    values = [value for name in peaks for value in run.curves[name].values]
    return f"{max(values):.4g} GiB" if values else None


def _seconds_15_frames(run: Run) -> str | None:
    seconds = run.benchmark.get("seconds_15_frames")
    return None if seconds is None else f"{seconds:.4g} s"


def _last(curve: str) -> Callable[[Run], float | None]:
    return lambda run: run.curves[curve].values[-1] if curve in run.curves else None


def _tracking(run: Run) -> str | None:
    """What metrics.csv holds; Weights & Biases gets the same."""
    return ", ".join(name for name in TRACKED if any(name in curve for curve in run.curves)) or None


def score_text(results: Results, key: str, group: str = ALL, *, copied: bool = False) -> str | None:
    """A score of the last system, or of the copied input on its pairs, in both conventions; None for no score."""
    row = results.systems[-1]
    entries = results.copied(row, group) if copied else results.entries(row, group)
    proper, published = estimate_entries(entries, key), estimate_entries(entries, f"{key}_as_published")
    if proper is None:
        return None
    if key == "psnr":
        return f"{proper.mean + AS_PUBLISHED_GAIN:.2f} as published ({proper.mean:.2f} proper)"
    first = f"{published.mean:.4f} as published (" if published else "("
    return f"{first}{proper.mean:.4f} proper)"


def _mean_score(key: str, *, copied: bool = False) -> Callable[[Run], str | None]:
    def find(run: Run) -> str | None:
        results = main_results(run)
        return score_text(results, key, copied=copied) if results else None

    return find


def _task_scores(key: str) -> Callable[[Run], str | None]:
    """Least and greatest mean of a task, in both conventions."""
    digits = 4 if key == "ssim" else 2

    def find(run: Run) -> str | None:
        results = main_results(run)
        if results is None:
            return None
        row = results.systems[-1]
        groups = sorted({entry["group"] for entry in results.entries(row)})
        proper, published = (
            [found.mean for group in groups if (found := estimate_entries(results.entries(row, group), name))]
            for name in (key, f"{key}_as_published")
        )
        if key == "psnr":
            published = [mean + AS_PUBLISHED_GAIN for mean in proper]
        said = [f"{min(m):.{digits}f} to {max(m):.{digits}f}" if m else ABSENT for m in (published, proper)]
        return f"{key.upper()} {said[0]} as published ({said[1]} proper)"

    return find


FACTS: dict[str, Callable[[Run], object]] = {
    "devices": _devices,
    "cpu": lambda run: f"{_part(run)['cpu_cores']} cores" if "cpu_cores" in _part(run) else None,
    "ram": lambda run: f"{_part(run)['memory_gib']} GiB" if "memory_gib" in _part(run) else None,
    "disk": lambda run: f"{_part(run)['disk_gib']} GiB" if "disk_gib" in _part(run) else None,
    "system": lambda run: _part(run).get("system"),
    "python": lambda run: f"Python {_part(run)['python']}" if "python" in _part(run) else None,
    "framework": _framework,
    "batch": _batch,
    "optimizer": _optimizer,
    "epochs": lambda run: f"{_epochs_text(run)} epochs" if _epochs_text(run) else None,
    "seconds": _seconds_text,
    "epoch_seconds": _epoch_seconds,
    "checkpoint": lambda run: "checkpoints/last.ckpt" if (run.folder / "checkpoints" / "last.ckpt").is_file() else None,
    "base_model": _base_model,
    "unet": _unet,
    "vae": _vae,
    "data": _data,
    "tasks": _tasks,
    "samples": lambda run: _part(run).get("samples"),
    "max_samples": _max_samples,
    "resolution": _resolution,
    "augmentation": _augmentation,
    "flip": _flip,
    "validation_image": lambda run: "the first validation batch" if run.config else None,
    "train_loss": _last("train/loss_simple"),
    "validation_loss": _last("val/loss_simple"),
    "mean_psnr": _mean_score("psnr"),
    "mean_ssim": _mean_score("ssim"),
    "copied_psnr": _mean_score("psnr", copied=True),
    "copied_ssim": _mean_score("ssim", copied=True),
    "task_psnr": _task_scores("psnr"),
    "task_ssim": _task_scores("ssim"),
    "peak_memory": _peak_memory,
    "trained_parameters": lambda run: _millions(_part(run).get("trained_parameters")),
    "parameters": lambda run: run.benchmark.get("parameters"),
    "seconds_15_frames": _seconds_15_frames,
    "command": lambda run: _part(run).get("command"),
    "environment": lambda run: " ".join(filter(None, [FACTS["python"](run), _framework(run)])) or None,
    "tracking": _tracking,
}
