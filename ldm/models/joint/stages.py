"""From one stage of training to the next: weights that both have go over, the rest is said."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from commands.errors import UserError

AVERAGE = "model_ema.average."
NETWORK = "model."
DEPTH = 4  # parts of a name that tell where a weight belongs: model.network.action.layers
OTHERS = ("state_", "action_", "object_", "statistics_hash", "first_stage_model.", "cond_stage_model.")


@dataclass(frozen=True)
class StageReport:
    """What a model took of an earlier one."""

    path: Path
    matched: tuple[str, ...]
    new: tuple[str, ...]  # in the model, not in the file: as they were initialised
    dropped: tuple[str, ...]  # in the file, not in the model

    def __str__(self) -> str:
        parts = {"matched": self.matched, "new": self.new, "dropped": self.dropped}
        said = (f"{name} {len(names)}{_places(names) if name != 'matched' else ''}" for name, names in parts.items())
        return f"{self.path}: tensors {', '.join(said)}"


def _places(names: Iterable[str]) -> str:
    """(place number, ...) of names, by their first parts."""
    found = Counter(".".join(name.removeprefix(NETWORK).split(".")[: DEPTH - 1]) for name in names)
    return f" ({', '.join(f'{place} {number}' for place, number in found.items())})" if found else ""


@torch.no_grad()
def init_from(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> StageReport:
    """Give a model the weights of an earlier stage, the averaged ones where there are any, and begin its average there.

    Args:
        model: a JointVideoAction.
        tensors: of the file, by name.
        path: the file, for messages.

    Raises:
        UserError: if the file holds no such model, or one of another size; nothing is touched then.
    """
    averaged = {NETWORK + name.removeprefix(AVERAGE): x for name, x in tensors.items() if name.startswith(AVERAGE)}
    source = {name: x for name, x in tensors.items() if name.startswith((NETWORK, *OTHERS))} | averaged
    state = {name: x for name, x in model.state_dict().items() if name.startswith((NETWORK, *OTHERS))}
    matched = tuple(name for name in state if name in source)
    weights = [name for name in matched if name.startswith(f"{NETWORK}network.")]
    if not weights:
        raise UserError(f"{path} holds no model of video and action; give a run of configs/recipes/joint_stage_*.yaml.")
    wrong = [name for name in matched if source[name].shape != state[name].shape]
    report = StageReport(
        path, matched, tuple(n for n in state if n not in source), tuple(n for n in source if n not in state)
    )
    if wrong:
        name = wrong[0]
        raise UserError(
            f"{path} is of another size: {len(wrong)} of {len(matched)} tensors have another shape, first {name} "
            f"({tuple(source[name].shape)} in the file, {tuple(state[name].shape)} in the model); give the overlay of "
            "configs/joint that it was trained with."
        )
    for name in matched:
        state[name].copy_(source[name])
    if model.model_ema is not None:
        model.model_ema.reset(model.model)
    return report
