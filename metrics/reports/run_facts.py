"""Facts of a run of ours, for the cells beside what a paper prints.

A cell is a sentence with names in braces, "{part.num_devices} x {part.device}":

    {config.<dotted key>} {unet.<key>}    the run's config, its U-Net's parameters
    {part.<key>} {benchmark.<key>}        the last part of run.json, benchmark.json
    {curve.<name>}                        last value of a curve of metrics.csv
    {<name>}                              one of FACTS, computed here

A sentence with a name that the run does not know is "-". Scores always say their convention: the papers' numbers are of
another one.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.reports.runs import Run, estimate_entries, main_results

ABSENT = "-"
TRACKED = ("loss", "ssim", "psnr", "memory", "utilization")  # in the names of curves
NAME = re.compile(r"{(.*?)}")


def find_fact(run: Run, sentence: str | None) -> str:
    """The sentence with its names filled in; ABSENT where there is none, or the run does not know a name."""
    if sentence is None:
        return ABSENT
    texts = {name: as_text(_find_one(run, name)) for name in NAME.findall(sentence)}
    return ABSENT if ABSENT in texts.values() else NAME.sub(lambda match: texts[match.group(1)], sentence)


def _find_one(run: Run, name: str) -> object:
    kind, _, key = name.partition(".")
    if kind == "curve":
        return run.curves[key].values[-1] if key in run.curves else None
    if kind in ("config", "unet", "part", "benchmark"):
        unet = descend(run.config, "model.params.unet_config.params")
        node = {"config": run.config, "unet": unet, "part": _part(run), "benchmark": run.benchmark}[kind]
        return descend(node, key)
    return FACTS[name](run)


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


def _part(run: Run) -> dict:
    """The last part of a run, which a resume begins anew."""
    parts = run.facts.get("parts") or [{}]
    return parts[-1]


def _batch(run: Run) -> str | None:
    """The effective batch with its arithmetic."""
    micro = descend(run.config, "data.params.batch_size")
    if not isinstance(micro, int):
        return None
    accumulated = descend(run.config, "lightning.trainer.accumulate_grad_batches") or 1
    devices = _part(run).get("num_devices", 1)
    return f"{micro} x {accumulated} accumulated x {devices} devices = {micro * accumulated * devices}"


def _epochs(run: Run) -> int | None:
    """Epochs that were trained, the last one perhaps in part."""
    return int(max(run.curves["epoch"].values)) + 1 if "epoch" in run.curves else None


def _seconds(run: Run) -> float | None:
    """Seconds of training, all parts together."""
    known = [part["seconds"] for part in run.facts.get("parts", ()) if part.get("seconds") is not None]
    return sum(known) if known else None


def _divided(quantity: Callable[[Run], float | None], by: Callable[[Run], float | None]) -> Callable[[Run], object]:
    def find(run: Run) -> float | None:
        above, below = quantity(run), by(run)
        return above / below if above is not None and below else None

    return find


def _base_model(run: Run) -> object:
    start = descend(run.config, "pretrained")
    if "pretrained" in run.config and start is None:
        return "none, trained from scratch"
    return descend(start, "name") or descend(start, "path")


def _vae(run: Run) -> str | None:
    target = descend(run.config, "model.params.first_stage_config.target")
    return target.rpartition(".")[2] if isinstance(target, str) else None


def _augmentation(run: Run) -> str | None:
    numbers = descend(run.config, "data.params.train.params.augmentation_config.params")
    return ", ".join(f"{name} {value}" for name, value in numbers.items()) if numbers else None


def _flip(run: Run) -> str | None:
    share = descend(run.config, "data.params.train.params.augmentation_config.params.flip") or 0
    return f"{share:.0%}" if run.config else None


def _max_samples(run: Run) -> str | None:
    return str(descend(run.config, "data.params.train.params.max_samples")) if run.config else None


def _data(run: Run) -> str | None:
    results = main_results(run)
    folder = results.table.provenance.get("data") if results else descend(run.config, "data.params.train.params.folder")
    return Path(folder).name if folder else None


def _tasks(run: Run) -> str | None:
    results = main_results(run)
    return ", ".join(sorted({entry["group"] for entry in results.pairs})) if results else None


def _trained_parameters(run: Run) -> str | None:
    count = _part(run).get("trained_parameters")
    return f"{count / 1e6:.4g}M" if count is not None else None


def _peak_memory(run: Run) -> float | None:
    """GiB of one GPU while training."""
    names = [name for name in run.curves if "gpu" in name and "mem" in name]
    peaks = [name for name in names if "peak" in name] or names
    return max((value for name in peaks for value in run.curves[name].values), default=None)


def _tracking(run: Run) -> str | None:
    """Kinds of curves in metrics.csv; Weights & Biases gets the same."""
    return ", ".join(name for name in TRACKED if any(name in curve for curve in run.curves)) or None


def _score(key: str, *, copied: bool = False, by_task: bool = False) -> Callable[[Run], str | None]:
    """A score of the last system, or of the input copied on its pairs: "0.98 as published (0.41 proper)".

    `by_task` gives the least and the greatest mean of a task instead of the mean of all pairs.
    """
    digits = 4 if key == "ssim" else 2

    def find(run: Run) -> str | None:
        results = main_results(run)
        if results is None:
            return None
        row = results.systems[-1]
        entries = results.copied(row) if copied else results.entries(row)
        groups = sorted({entry["group"] for entry in entries}) if by_task else (None,)
        parts = [[entry for entry in entries if group in (None, entry["group"])] for group in groups]
        proper, published = (
            [found.mean for part in parts if (found := estimate_entries(part, name))]
            for name in (key, f"{key}_as_published")
        )
        if key == "psnr":
            published = [mean + AS_PUBLISHED_GAIN for mean in proper]
        texts = [_range(means, digits) for means in (published, proper)]
        return f"{texts[0]} as published ({texts[1]} proper)" if proper else None

    return find


def _range(means: list[float], digits: int) -> str:
    """ "9.62", or "9.62 to 12.60" of several."""
    return " to ".join(f"{mean:.{digits}f}" for mean in sorted({min(means), max(means)})) if means else ABSENT


FACTS: dict[str, Callable[[Run], object]] = {
    "batch": _batch,
    "epochs": _epochs,
    "seconds": _seconds,
    "hours": _divided(_seconds, lambda _: 3600.0),
    "epoch_seconds": _divided(_seconds, _epochs),
    "checkpoint": lambda run: next((path.name for path in run.folder.glob("checkpoints/last.ckpt")), None),
    "base_model": _base_model,
    "vae": _vae,
    "augmentation": _augmentation,
    "flip": _flip,
    "max_samples": _max_samples,
    "data": _data,
    "tasks": _tasks,
    "trained_parameters": _trained_parameters,
    "peak_memory": _peak_memory,
    "tracking": _tracking,
    "psnr": _score("psnr"),
    "ssim": _score("ssim"),
    "copied_psnr": _score("psnr", copied=True),
    "copied_ssim": _score("ssim", copied=True),
    "task_psnr": _score("psnr", by_task=True),
    "task_ssim": _score("ssim", by_task=True),
}
