"""What is asked of model and data together before a run begins, so that a misfit is said before anything is written.

Sees models by their attributes and data by its pairs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from commands.errors import UserError
from formats.atomic import read_json
from formats.prepared_folder import DESCRIPTION, FramePair
from ldm.training.keys import find

PLAIN = "{instruction}"  # the form of sentences without a template
NEEDED = ("seed", "model.target", "data.target", "lightning.checkpoint")  # of a config that trains; overlays lack some


def check_whole(config: Mapping, base: Sequence[Path]) -> None:
    """Refuse an overlay that was given without the config that it is laid over.

    Args:
        config: merged.
        base: the files that it was merged from.

    Raises:
        UserError: names what is missing.
    """
    lacking = [key for key in NEEDED if find(config, key) is None]
    if lacking:
        files = " ".join(map(str, base))
        raise UserError(
            f"{files}: no whole config, {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing; it is an "
            f"overlay, put the config under it first: --base configs/train.yaml {files}"
        )


def check_resolutions(model: Any, params: Mapping) -> None:
    """Refuse a resolution that the first stage or the U-Net cannot halve as often as it wants to.

    Args:
        model: says its `size_multiple`.
        params: the data module's own: resolutions of its splits, and its schedule of resolutions.

    Raises:
        UserError: names the nearest resolution that fits.
    """
    multiple = model.size_multiple
    nodes = (params.get(split) or {} for split in ("train", "validation", "test"))
    sides = [side for node in nodes if (side := node.get("params", {}).get("resolution"))]
    for side in [*sides, *(side for _, side in params.get("resolutions") or ())]:
        if side < multiple or side % multiple:
            nearest = max(1, round(side / multiple)) * multiple
            raise UserError(
                f"resolution {side}: wanted a multiple of {multiple}, by which this model's networks make pictures "
                f"smaller; the nearest is resolution={nearest}."
            )


def resolution_doubts(config: Mapping) -> list[str]:
    """A sentence where pairs train at another resolution than the config's own, at which the model will predict."""
    wanted = config.get("resolution")
    side = find(config, "data.params.train.params.resolution")
    if None in (wanted, side) or side == wanted:
        return []
    return [
        f"the config's resolution is {wanted}, at which the model will predict, but it trains on pairs of {side}: give "
        f"data.params.train.params.resolution={wanted} too, or resolution={side}."
    ]


def data_doubts(config: Mapping, pairs: Mapping[str, Sequence[FramePair]]) -> list[str]:
    """Sentences about data that trains, but not as the config reads: resolution, horizon, tasks without validation.

    Args:
        config: whole and resolved.
        pairs: training and validation pairs, by `train` and `validation`.
    """
    train, validation = pairs.get("train", []), pairs.get("validation", [])
    return [
        *resolution_doubts(config),
        *([] if takes_seconds(config) else horizon_doubts(horizons_of(train), config.get("horizon"))),
        *template_doubts(config, true_template(config)),
        *task_doubts(train, validation),
    ]


def horizons_of(pairs: Sequence[FramePair]) -> Counter[int]:
    """How many of the pairs lie so many frames apart, where that is known."""
    return Counter(pair.horizon for pair in pairs if pair.horizon is not None)


def horizon_doubts(found: Counter[int], horizon: int | None) -> list[str]:
    """A sentence where the pairs decide on another horizon than the config's, or on none."""
    if not found or list(found) == [horizon]:
        return []
    if len(found) == 1:
        (only,) = found
        prepare = f", or prepare the data again with --horizon {horizon}" if horizon else ""
        return [
            f"the config's horizon is {horizon or 'open'}, but all training pairs are {only} frames apart, and they "
            f"decide: the model is stored with horizon {only}; set horizon={only}{prepare}."
        ]
    median = sorted(found.elements())[found.total() // 2]
    return [
        f"the training pairs are {min(found)} to {max(found)} frames apart (median {median}), so that the model has no "
        f"single horizon{f' of {horizon} frames, as the config says' if horizon else ''}: it is stored with "
        f"horizon_range [{min(found)}, {max(found)}], and a prediction shows the end of the motion, not a given time."
    ]


def true_horizon(config: Mapping, train: Sequence[FramePair]) -> dict[str, Any]:
    """`horizon` and `horizon_range` as the training pairs have them, for the config that a run saves with the model.

    One distance is the horizon; several leave it null, with the least and the largest as the range. Nothing is said
    where the pairs do not know their frames.
    """
    found = horizons_of(train)
    if not found:
        return {}
    if len(found) == 1:
        return {"horizon": min(found), "horizon_range": None}
    return {"horizon": None, "horizon_range": [min(found), max(found)]}


def takes_seconds(config: Mapping) -> bool:
    """Whether the time ahead is an input of a config's model."""
    return bool(find(config, "model.params.horizon_channels"))


def true_seconds(config: Mapping, train: Any) -> dict[str, Any]:
    """`seconds_range` of the training data, for the config of a run whose model takes the seconds ahead."""
    if not takes_seconds(config):
        return {}
    known = [pair.horizon_seconds for pair in getattr(train, "pairs", []) if pair.horizon_seconds]
    between = getattr(train, "seconds", None) or ((min(known), max(known)) if known else None)
    return {"horizon": None, "horizon_range": None} | ({"seconds_range": list(between)} if between else {})


def true_template(config: Mapping) -> dict[str, Any]:
    """`instruction_template` as the training data were prepared with it, for the config that a run saves.

    Nothing is said where the data do not tell, or tell of seconds, which predictions do not count in.
    """
    folder = find(config, "data.params.train.params.folder")
    path = Path(folder or "") / DESCRIPTION
    template = find(read_json(path), "options.sentences.template") if folder and path.is_file() else None
    if not isinstance(template, str) or template.count(PLAIN) != 1 or "{seconds}" in template:
        return {}
    return {"instruction_template": None if template == PLAIN else template}


def template_doubts(config: Mapping, found: Mapping[str, Any]) -> list[str]:
    """A sentence where the data's sentences have another form than the config says."""
    wanted = config.get("instruction_template")
    if not found or found["instruction_template"] == wanted:
        return []
    return [
        f"the training sentences have the form {found['instruction_template'] or PLAIN}, the config says "
        f"{wanted or PLAIN}: the model is stored with the former, which its predictions will send."
    ]


def task_doubts(train: Sequence[FramePair], validation: Sequence[FramePair]) -> list[str]:
    """A sentence for each task that trains and is never validated."""
    trained, validated = Counter(pair.task for pair in train), {pair.task for pair in validation}
    return [
        f"the validation split has no pairs of the task '{task}', which has {count} training pairs: the validation "
        "loss does not see it. Record more of its episodes and prepare the data again."
        for task, count in trained.items()
        if validation and task is not None and task not in validated
    ]


def how_to_prepare(error: Exception, config: Mapping) -> str:
    """The message of missing data, with the recipe's own data command in place of the general one."""
    (what, *_), prepare = str(error).splitlines(), config.get("prepare")
    params = config["data"]["params"]
    node = params.get("train") or params.get("test") or {}
    nodes = (node, *((node.get("params") or {}).get("parts") or {}).values())  # of a mixture: its parts'
    folders = [(node.get("params") or {}).get("folder") for node in nodes if node]
    folder = next((folder for folder in folders if folder and str(folder) in what), None)
    if not prepare or folder is None:
        return str(error)
    return f"{what}\nMake it with: {data_command(prepare, folder)}"


def data_command(prepare: str, folder: str) -> str:
    """The command that prepares a recipe's data: its options of prepare_dataset, or the whole commands it names."""
    if prepare.startswith("python "):
        return "".join(f"\n  {command}" for command in prepare.split("\n"))
    return f"python -m dataset_tools.prepare_dataset --episodes <folder> --output {folder} {prepare}"
