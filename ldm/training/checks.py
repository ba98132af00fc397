"""What is asked of model and data together before a run begins, so that a misfit is said before anything is written.

Sees models by their attributes and data by its pairs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from commands.errors import UserError
from formats.prepared_folder import FramePair

NEEDED = ("seed", "model.target", "data.target", "lightning.checkpoint")  # of a config that trains; overlays lack some


def check_whole(config: Mapping, base: Sequence[Path]) -> None:
    """Refuse an overlay that was given without the config that it is laid over.

    Args:
        config: merged.
        base: the files that it was merged from.

    Raises:
        UserError: names what is missing.
    """
    lacking = []
    for key in NEEDED:
        section, _, name = key.partition(".")
        if config.get(section) is None or (name and name not in config[section]):
            lacking.append(key)
    if lacking:
        files = " ".join(map(str, base))
        raise UserError(
            f"{files}: no whole config, {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing; it is an "
            f"overlay, put the config under it first: --base configs/train.yaml {files}"
        )


def check_resolutions(model: Any, params: Mapping) -> None:
    """Refuse a resolution that the first stage or the U-Net cannot halve as often as it wants to.

    Args:
        model: has `first_stage_model`; `model.diffusion_model` too where it is a diffusion model.
        params: the data module's own: resolutions of its splits, and its schedule of resolutions.

    Raises:
        UserError: names the nearest resolution that fits.
    """
    first = model.first_stage_model.downsampling_factor
    halvings = getattr(model.model.diffusion_model, "downsampling_factor", 1) if hasattr(model, "model") else 1
    multiple = first * halvings
    nodes = (params.get(split) or {} for split in ("train", "validation", "test"))
    sides = [side for node in nodes if (side := node.get("params", {}).get("resolution"))]
    for side in [*sides, *(side for _, side in params.get("resolutions") or ())]:
        if side < multiple or side % multiple:
            nearest = max(1, round(side / multiple)) * multiple
            raise UserError(
                f"resolution {side}: wanted a multiple of {multiple} (the first stage makes pictures {first} times "
                f"smaller, the U-Net {halvings} times more); the nearest is resolution={nearest}."
            )


def resolution_doubts(config: Mapping) -> list[str]:
    """A sentence where pairs train at another resolution than the config's own, at which the model will predict."""
    wanted = config.get("resolution")
    side = ((config["data"]["params"].get("train") or {}).get("params") or {}).get("resolution", wanted)
    if wanted is None or side == wanted:
        return []
    return [
        f"the config's resolution is {wanted}, at which the model will predict, but it trains on pairs of {side}: give "
        f"data.params.train.params.resolution={wanted} too, or resolution={side}."
    ]


def pairs_doubts(train: Sequence[FramePair], validation: Sequence[FramePair], horizon: int | None) -> list[str]:
    """Sentences about pairs that train, but not as the config reads: another horizon, tasks without validation."""
    doubts = []
    horizons = {pair.horizon for pair in train} - {None}
    if horizon is not None and len(horizons) == 1 and horizon not in horizons:
        found = horizons.pop()
        doubts.append(
            f"the config's horizon is {horizon} frames, but all training pairs are {found} apart, and they decide: "
            f"set horizon={found}, or prepare the data again with --horizon {horizon}."
        )
    trained, validated = Counter(pair.task for pair in train), {pair.task for pair in validation}
    for task, count in trained.items():
        if validation and task is not None and task not in validated:
            doubts.append(
                f"the validation split has no pairs of the task '{task}', which has {count} training pairs: the "
                "validation loss does not see it. Record more of its episodes and prepare the data again."
            )
    return doubts
