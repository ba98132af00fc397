"""What a JointVideoAction answers in each mode, by the samplers and the guidance of the picture models.

policy    actions; no frame to come is computed
video     frames
joint     actions as in policy, and the frames that they lead to, where frames see actions
imagine   frames first, then the actions that lead there: imagined frames are told as if they were seen
forward   frames that given actions lead to
inverse   actions that lead to given frames
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.data.joint_windows import JointBatch
from ldm.data.stream import SEED_RANGE
from ldm.models.diffusion.conditioning import Conditioning
from ldm.models.diffusion.guidance import DualGuidance
from ldm.models.diffusion.sampling import SamplingOptions, make_sampler
from ldm.models.joint.levels import MODES, Mode
from ldm.models.joint.video_action import JointVideoAction
from ldm.modules.joint.network import GIVEN, AskedActions, AskedFrames, Memory

MANY_STEPS = 10  # of a model that was trained at all levels
Answered = Mode | Literal["imagine"]


@dataclass(frozen=True)
class JointPrediction:
    """What was asked for; nothing else was computed."""

    frames: dict[str, Tensor]  # camera => (B, F, 3, S, S) about [-1, 1]
    actions: Tensor | None  # (B, K, D) targets, radians and metres


@torch.no_grad()
def predict(
    model: JointVideoAction,
    batch: JointBatch,
    mode: Answered,
    seeds: Sequence[int],
    options: SamplingOptions | None = None,
) -> JointPrediction:
    """What the model answers to a batch.

    Args:
        model: with the weights that are to predict.
        batch: what is seen and known; `seconds` of the frames to come; for forward also actions, for inverse `future`.
        mode: see the module.
        seeds: one a sample; the answer depends on nothing else by chance.
        options: how frames are drawn; None: see own_options.

    Raises:
        UserError: if the model has no such mode.
    """
    check_mode(model, mode)
    generators = [torch.Generator().manual_seed(int(seed) % SEED_RANGE) for seed in seeds]
    options = options or own_options(model)
    batch = model.join_views(batch)
    memory = model.observe(batch, video=mode != "policy")
    actions, latents, given = None, {}, None
    if mode in ("policy", "joint"):
        actions = draw_actions(model, memory, None, generators)
    if mode == "forward" or (mode == "joint" and model.network.video_sees_action):
        given = tell_actions(model.actions_in_units(batch) if mode == "forward" else actions)
    if mode == "inverse":
        latents = {camera: model.encode(batch["future"][camera]) for camera in model.network.cameras}
    elif mode != "policy":
        latents = draw_latents(model, batch, memory, given, options, generators)
    if mode in ("imagine", "inverse"):
        actions = draw_actions(model, memory, tell_frames(model, latents, batch["seconds"]), generators)
    shown = {} if mode == "inverse" else {camera: model.decode(latent) for camera, latent in latents.items()}
    shown = model.split_views(shown)
    return JointPrediction(shown, None if actions is None else model.targets(actions, batch["command"]))


def own_options(model: JointVideoAction) -> SamplingOptions:
    """How frames are drawn where nobody says: in as many steps as in training, without guidance."""
    return SamplingOptions(model.video.training_steps or MANY_STEPS, 1.0, 1.0)


def check_mode(model: JointVideoAction, mode: str) -> None:
    """Refuse a mode that the model was not built for.

    Raises:
        UserError: if there is none of that name, or parts of the network are missing or do not see each other.
    """
    if mode not in (*MODES, "imagine"):
        raise UserError(f"mode '{mode}' is not one of {', '.join(MODES)}, imagine.")
    if mode != "video" and model.actions is None:
        raise UserError(f"mode '{mode}': this model has no actions, it is of stage 1 or 2; wanted video, or stage 3.")
    if mode != "policy" and not model.video.weight:
        raise UserError(f"mode '{mode}': this model was trained without video (video.weight: 0); wanted policy.")
    if mode == "forward" and not model.network.video_sees_action:
        raise UserError("mode 'forward': frames do not see actions in this model; wanted visibility: mutual.")
    if mode in ("inverse", "imagine") and not model.network.action_sees_video:
        raise UserError(f"mode '{mode}': actions do not see frames in this model; wanted visibility: mutual.")


def tell_actions(clean: Tensor) -> AskedActions:
    """Actions (B, K, A) in units, told without noise."""
    level = torch.full((len(clean),), GIVEN, device=clean.device)
    return AskedActions(clean, level, torch.zeros_like(level, dtype=torch.bool))


def tell_frames(model: JointVideoAction, latents: Mapping[str, Tensor], seconds: Tensor) -> AskedFrames:
    """Latents (B, F, C, h, w) of each camera, told without noise."""
    return _ask_frames(model, latents, GIVEN, seconds)


def _ask_frames(model: JointVideoAction, latents: Mapping[str, Tensor], level: int, seconds: Tensor) -> AskedFrames:
    """Frames to come of one level; at the noisiest their content tells nothing."""
    tokens = {c: (*seconds.shape, len(model.network.tokens.place[c])) for c in latents}
    flags = lambda value: {c: torch.full(tokens[c], value, device=seconds.device) for c in latents}  # noqa: E731
    content = {c: torch.zeros_like(x) for c, x in latents.items()} if level == model.noisiest else dict(latents)
    levels = {c: torch.full(seconds.shape, level, device=seconds.device) for c in latents}
    return AskedFrames(content, levels, flags(level == GIVEN), flags(level == model.noisiest), seconds)


def draw_latents(
    model: JointVideoAction,
    batch: JointBatch,
    memory: Memory,
    actions: AskedActions | None,
    options: SamplingOptions,
    generators: list[torch.Generator],
) -> dict[str, Tensor]:
    """Scaled latents (B, F, C, h, w) of the frames to come, by camera; all walk together."""
    seconds = batch["seconds"]
    shapes = {camera: (seconds.shape[1], *source.shape[1:]) for camera, source in memory.source.items()}
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]

    def unpack(packed: Tensor) -> dict[str, Tensor]:
        parts = packed.split(sizes, dim=1)
        return {camera: part.unflatten(1, shape) for (camera, shape), part in zip(shapes.items(), parts, strict=True)}

    def denoise(x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Noise estimate; how many samples `cond` has tells whether the memory without a sentence is asked, too."""
        asked = _ask_frames(model, unpack(x_t), int(t[0]), seconds.repeat(len(x_t) // len(seconds), 1))
        answer = model.network(memories[len(cond) // len(seconds)], asked, stacked_actions[len(cond) // len(seconds)])
        output = torch.cat([latent.flatten(1) for latent in answer.frames.values()], dim=1)
        return model.schedule.eps_from_output(model.video.parameterization, output.to(x_t), x_t, t)

    guided = options.text_scale != 1.0
    memories, stacked_actions = {1: memory}, {1: actions}
    text = model.encode_instruction(batch["instruction"])
    null = Conditioning(text.new_zeros(len(text), 1), model.encode_instruction([""]).expand_as(text))
    guidance = DualGuidance(denoise, Conditioning(null.concat, text), null, options.text_scale, 1.0, options.interval,
                            options.rescale)  # fmt: skip
    if guided:
        blind = model.observe({**batch, "instruction": [""] * len(text)})
        memories[2] = memory.stack(blind)
        stacked_actions[2] = None if actions is None else actions.repeat(2)
    noise = torch.stack([torch.randn(sum(sizes), generator=generator) for generator in generators])
    return unpack(make_sampler(model.schedule, options).sample(guidance, noise.to(seconds.device), generators))


def draw_actions(
    model: JointVideoAction, memory: Memory, frames: AskedFrames | None, generators: list[torch.Generator]
) -> Tensor:
    """Actions (B, K, A) in units, seeing the frames that are told."""
    shape = (len(memory.plan.tokens), *model.network.action.shape)

    def ask(content: Tensor, level: int) -> Tensor:
        hidden = level == model.noisiest
        levels = torch.full(shape[:1], level, device=content.device)
        asked = AskedActions(content * (not hidden), levels, torch.full_like(levels, hidden, dtype=torch.bool))
        return model.network(memory, frames, asked).actions

    nothing = memory.plan.tokens.new_zeros(shape)
    if model.actions.loss != "diffusion":
        first = ask(nothing, model.noisiest)
        if model.actions.loss == "regression":
            return first
        return ask(model.schedule.signal[model.second_level] * first, model.second_level)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        output = ask(x_t, int(t[0]))
        return model.schedule.eps_from_output(model.action_parameterization, output.to(x_t), x_t, t)

    noise = torch.stack([torch.randn(shape[1:], generator=generator) for generator in generators]).to(nothing)
    return make_sampler(model.schedule, SamplingOptions(model.actions.steps, 1.0, 1.0)).sample(denoise, noise, None)
