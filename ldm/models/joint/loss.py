"""The loss of a JointVideoAction: what its answers in all modes are off, video, actions and objects together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.data.joint_windows import JointBatch
from ldm.data.windows import EpisodeBatch
from ldm.models.joint.levels import TEACHES_ACTIONS, Levels
from ldm.models.joint.video_action import JointVideoAction
from ldm.modules.joint.network import GIVEN, AskedActions, AskedFrames, Observation

VIDEO_MODES = ("joint", "video", "forward", "inverse")


@dataclass(frozen=True)
class JointLoss:
    """Loss of a batch, and its terms by name, () each."""

    loss: Tensor
    parts: dict[str, Tensor]


def measure_loss(model: JointVideoAction, batch: JointBatch, levels: Levels | None = None) -> JointLoss:
    """Video and actions, each a mean over what is there and was asked, and where the objects are.

    Windows without frames (`more`) teach actions where the objects truly are, but for a little noise. `levels` are
    drawn from the batch where they are not given.
    """
    batch = model.join_views(batch)
    levels = model.draw_levels(batch) if levels is None else levels
    seen = model.observation(batch, levels, video=len(levels.rows(*VIDEO_MODES)) > 0)
    sums: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in loss_terms(model)}
    for modes in (("policy",), VIDEO_MODES):
        rows = levels.rows(*modes)
        if len(rows):
            _ask(model, batch, levels, rows, seen, sums, sees_future=modes is VIDEO_MODES)
    nothing = next(p for p in model.model.parameters() if p.requires_grad).sum() * 0.0
    parts = {name: _ratio(terms) if terms else nothing for name, terms in sums.items()}
    if "more" in batch and model.actions is not None:
        parts["actions"] = parts["actions"] + _unseen_off(model, batch["more"])
    return JointLoss(sum(loss_terms(model)[name] * value for name, value in parts.items()), parts)


def _unseen_off(model: JointVideoAction, more: EpisodeBatch) -> Tensor:
    """The actions' term () of windows without frames, from nothing told of their actions."""
    state = model.state_in_units(more) * more["state_valid"][:, None]
    told = Observation({}, {}, {}, state, model.encode_instruction(more["instruction"]), state, None)
    memory = model.network.imagine(told, model.objects_present(more))
    level = torch.full(state.shape[:1], model.noisiest, device=state.device)
    asked = AskedActions(torch.zeros_like(more["actions"]), level, torch.ones_like(level, dtype=torch.bool))
    answer = model.network(memory, None, asked).actions.float()
    sign = -1.0 if model.action_parameterization == "v" else 1.0  # the velocity of nothing but noise
    return model.actions_off(sign * answer, more)


def loss_terms(model: JointVideoAction) -> dict[str, float]:
    """Weight of each term."""
    acting = {} if model.actions is None else {"actions": 1.0, "objects": model.actions.object_weight}
    return ({"video": model.video.weight} if model.video.weight else {}) | acting


def _ask(
    model: JointVideoAction,
    batch: JointBatch,
    levels: Levels,
    rows: Tensor,
    seen: Observation,
    sums: dict[str, list[tuple[Tensor, Tensor]]],
    *,
    sees_future: bool,
) -> None:
    """Ask about some samples; to `sums` is added what their answers are off, (sum, count) by term."""
    device = batch["history"].device
    at = rows.to(device)
    memory = model.network.observe(seen.take(at), video=sees_future)
    frames, targets = _ask_frames(model, batch, levels, rows) if sees_future else (None, {})
    asked = wanted = None
    if model.actions is not None:
        asked, wanted = _ask_actions(model, batch, levels, rows)
    answer = model.network(memory, frames, asked)
    for camera, target in targets.items():
        off = model.network.tokens.grid.cut((answer.frames[camera].float() - target) ** 2)
        valid = batch["future_valid"][camera][at][..., None] & ~frames.given[camera]
        sums.get("video", []).append(_sum(off, valid))
    if model.actions is None:
        return
    teaches = torch.tensor([levels.modes[row] in TEACHES_ACTIONS for row in rows.tolist()], device=device)
    off = answer.actions.float() - wanted
    off = off**2 if model.actions.loss == "diffusion" else off.abs()
    sums["actions"].append(_sum(off, batch["action_valid"][at] & teaches[:, None]))
    there = batch["object_valid"][at]
    off = (memory.plan.objects.float() - model.objects_present(batch)[at]).abs()
    sums["objects"].append(_sum(off, there.any(dim=1, keepdim=True).expand_as(there)))


def _ask_frames(
    model: JointVideoAction, batch: JointBatch, levels: Levels, rows: Tensor
) -> tuple[AskedFrames, dict[str, Tensor]]:
    """The frames to come of some samples, noisy, and what the network is to answer."""
    device, grid = batch["history"].device, model.network.tokens.grid
    at = rows.to(device)
    content, targets = {}, {}
    chosen = {name: {c: getattr(levels, name)[c][rows].to(device) for c in model.network.cameras}
              for name in ("video", "given", "hidden")}  # fmt: skip
    for camera in model.network.cameras:
        clean = model.encode(batch["future"][camera][at])
        given, hidden = (grid.spread(chosen[name][camera], clean) for name in ("given", "hidden"))
        eps = model.draw_noise(levels, rows, clean) if len(model.sampler.video_levels) > 1 else torch.zeros_like(clean)
        t = chosen["video"][camera].clamp(min=0).flatten()
        flat, noise = clean.flatten(0, 1), eps.flatten(0, 1)
        noisy = model.schedule.q_sample(flat, t, noise).unflatten(0, clean.shape[:2])
        content[camera] = torch.where(given, clean, noisy * ~hidden)
        wanted = model.schedule.training_target(model.video.parameterization, flat, t, noise)
        targets[camera] = wanted.unflatten(0, clean.shape[:2])
    asked = AskedFrames(content, chosen["video"], chosen["given"], chosen["hidden"], batch["seconds"][at])
    return asked, targets


def _ask_actions(
    model: JointVideoAction, batch: JointBatch, levels: Levels, rows: Tensor
) -> tuple[AskedActions, Tensor]:
    """The actions of some samples, noisy, and what the network is to answer."""
    at = rows.to(batch["history"].device)
    clean, level = model.actions_in_units(batch)[at], levels.actions[rows].to(at.device)
    eps = model.draw_noise(levels, rows, clean) if len(model.sampler.action_levels) > 1 else torch.zeros_like(clean)
    t, hidden = level.clamp(min=0), level == model.noisiest
    noisy = model.schedule.q_sample(clean, t, eps) * ~hidden[:, None, None]
    content = torch.where((level == GIVEN)[:, None, None], clean, noisy)
    wanted = model.schedule.training_target(model.action_parameterization, clean, t, eps)
    return AskedActions(content, level, hidden), wanted


def _sum(off: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the means (..., C) over C where they are valid (...), and their number."""
    return (off.mean(dim=-1) * valid).sum(), valid.sum()


def _ratio(sums: list[tuple[Tensor, Tensor]]) -> Tensor:
    """All sums over all counts."""
    return sum(part for part, _ in sums) / sum(count for _, count in sums).clamp(min=1)
