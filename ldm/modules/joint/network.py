"""Two streams, of video and of actions, that attend to each other: what is seen, what will be seen, what is done.

Three groups of tokens: *shown* (frames up to now), *asked* (frames to come), *actions*; and the sentence with earlier
states as context that no layer changes. Who sees whom:

    shown     context, shown of the same view; other views through adapters
    asked     context, shown and asked of the same view; other views through adapters; actions as `visibility` says
    actions   context, actions; shown of all views where the network `looks`; asked as `visibility` says

So what is shown depends on nothing else: its keys are computed once an observation, whatever is asked of it. And a
frame or chunk at the noisiest level, which holds nothing, is seen by nobody of the other stream: hidden is absent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from commands.errors import UserError
from ldm.modules.joint.actions import ActionStream, Plan
from ldm.modules.joint.attention import (
    CrossViewAdapter,
    Keys,
    LevelEmbedding,
    OutputAdapter,
    StreamLayer,
    attend,
)
from ldm.modules.joint.tokens import FrameTokens, LatentGrid, VideoHead
from ldm.util import make_from_params

GIVEN = -1  # the level of what is told without noise
VISIBILITY = {  # name => (actions see frames to come, frames to come see actions); OpenWAM (arXiv 2609.07398), table 3
    "isolated": (False, False),
    "action_sees_video": (True, False),
    "video_sees_action": (False, True),
    "mutual": (True, True),
}


@dataclass(frozen=True)
class Observation:
    """What is known of B samples; latents are scaled."""

    frames: dict[str, Tensor]  # camera => (B, H, 3, S, S) in [-1, 1]
    latents: dict[str, Tensor]  # camera => (B, H, C, h, w); empty where nothing is asked that needs them
    valid: dict[str, Tensor]  # camera => (B,) bool
    history: Tensor  # (B, H) seconds
    text: Tensor  # (B, L, width) embedded sentences
    state: Tensor | None  # (B, S)
    past_states: Tensor | None  # (B, H - 1, D)
    features: Tensor | None = None  # (B, N, C) of another network, see PictureTrunk

    def take(self, rows: Tensor) -> "Observation":
        """That of some samples."""
        return Observation(*(_map(lambda x: x[rows], getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True)
class Memory:
    """What the network made of an observation; enough for any number of answers to it."""

    context: list[Keys]  # of each layer
    shown: list[dict[str, Keys]]  # of each layer, by camera
    exchanged: list[dict[str, Keys]]  # of each layer's adapter
    remembered: dict[str, Tensor]  # camera => what its frames are drawn on
    source: dict[str, Tensor]  # camera => present latent (B, C, h, w), zeros where the view is absent
    plan: Plan | None

    def stack(self, other: "Memory") -> "Memory":
        """The samples of both, after one another."""
        names = [field.name for field in fields(self)]
        return Memory(*(_map(lambda *x: torch.cat(x), getattr(self, name), getattr(other, name)) for name in names))


def _map(function: Callable[..., Tensor], *values: Any) -> Any:
    """A function of the tensors at the same place of lists, dictionaries and named tuples."""
    first = values[0]
    if isinstance(first, Tensor):
        return function(*values)
    if isinstance(first, dict):
        return {key: _map(function, *(value[key] for value in values)) for key in first}
    if isinstance(first, list | tuple):
        mapped = [_map(function, *parts) for parts in zip(*values, strict=True)]
        return type(first)(*mapped) if isinstance(first, tuple) else mapped
    return first


@dataclass(frozen=True)
class AskedFrames:
    """Frames to come, noisy; `content` is zero where nothing is told."""

    content: dict[str, Tensor]  # camera => (B, F, C, h, w)
    level: dict[str, Tensor]  # camera => (B, F), GIVEN or a timestep
    given: dict[str, Tensor]  # camera => (B, F, n) bool: tokens told without noise
    hidden: dict[str, Tensor]  # camera => (B, F, n) bool: tokens that hold nothing
    seconds: Tensor  # (B, F)


@dataclass(frozen=True)
class AskedActions:
    """A chunk of actions, noisy; `content` is zero where nothing is told."""

    content: Tensor  # (B, K, A)
    level: Tensor  # (B,)
    hidden: Tensor  # (B,) bool

    def repeat(self, times: int) -> "AskedActions":
        """The same for so many batches after one another."""
        return AskedActions(*(torch.cat([part] * times) for part in (self.content, self.level, self.hidden)))


@dataclass(frozen=True)
class Answer:
    """What the network predicts; of what was not asked, nothing."""

    frames: dict[str, Tensor]  # camera => (B, F, C, h, w)
    actions: Tensor | None  # (B, K, A)


@dataclass(frozen=True)
class StreamOptions:
    """Shape of the video stream."""

    width: int  # of a token
    heads: int
    head_channels: int
    depth: int  # layers
    adapters: int  # channels of its adapters
    features: int | None = None  # numbers of a token of another network's, where there is one


@dataclass(frozen=True)
class TextOptions:
    """How the sentence is read."""

    width: int  # numbers of an embedded token
    pooled: bool  # the mean of the tokens is the one token


class JointNetwork(nn.Module):
    """See the module.

    Args:
        encoders: name => parameters of a KeypointEncoder; cameras may share one.
        cameras: camera => name of its encoder; None: it is not there.
        sides: camera => pixels of its pictures.
        latent: parameters of LatentGrid, of the first stage.
        stream: parameters of StreamOptions.
        decoder: channels and masks of VideoHead.
        text: parameters of TextOptions.
        action_stream: width, hidden, layers and steps_per_token of the ActionStream, where there is one.
        action: its state, actions, chunk and objects; null: no actions.
        visibility: who sees whom, of VISIBILITY.
        adapters: between views, and each camera's own: what several cameras have over one.
        looks: actions look at what is shown, too; without, they know pictures by where the objects are alone, so that a
            few hundred episodes are not learnt by heart.
    """

    def __init__(
        self,
        encoders: Mapping[str, Mapping],
        cameras: Mapping[str, str | None],
        sides: Mapping[str, int],
        latent: Mapping[str, int],
        stream: Mapping[str, int],
        decoder: Mapping[str, int],
        text: Mapping[str, int | bool],
        action_stream: Mapping[str, int],
        action: Mapping[str, int] | None = None,
        visibility: str = "mutual",
        *,
        adapters: bool = False,
        looks: bool = False,
    ) -> None:
        super().__init__()
        if visibility not in VISIBILITY:
            raise UserError(f"visibility: '{visibility}' is not one of {', '.join(VISIBILITY)}.")
        cameras = {camera: name for camera, name in sorted(cameras.items()) if name}  # their order means nothing
        for camera, name in cameras.items():
            if name not in encoders or camera not in sides:
                raise UserError(
                    f"cameras.{camera}: '{name}'; wanted one of the encoders {', '.join(encoders)}, and a side for the "
                    f"camera, which {', '.join(sides)} have."
                )
        encoders = {name: params for name, params in encoders.items() if name in cameras.values()}
        shape = make_from_params(StreamOptions, stream, "stream")
        bottleneck, width, depth = shape.adapters, shape.width, shape.depth
        attention = (shape.heads, shape.head_channels)
        sentence = make_from_params(TextOptions, text, "text")
        self.action_sees_video, self.video_sees_action = VISIBILITY[visibility]
        self.cameras, self.looks, self.pool_text = tuple(cameras), looks, sentence.pooled
        grid = make_from_params(LatentGrid, latent, "latent")
        self.tokens = FrameTokens(grid, width, encoders, cameras, sides)
        self.read_text = nn.Linear(sentence.width, width)
        self.read_features = nn.Linear(shape.features, width) if shape.features else None
        self.level = LevelEmbedding(width)
        self.layers = nn.ModuleList(StreamLayer(width, *attention) for _ in range(depth))
        channels = {name: params["channels"] for name, params in encoders.items()}
        given = {"grid": grid, "width": width, "encoders": channels, "cameras": cameras, "sides": sides}
        self.head = make_from_params(VideoHead, decoder, "decoder", **given)
        several = depth if adapters and len(cameras) > 1 else 0
        self.exchange = nn.ModuleList(CrossViewAdapter(width, bottleneck) for _ in range(several))
        self.own = nn.ModuleDict({camera: OutputAdapter(width, bottleneck) for camera in cameras if adapters})
        self.action: ActionStream | None = None
        if action is not None:
            seen = sum(self.tokens.encoders[name].width for name in cameras.values())
            given = {"seen": seen, "text": sentence.width, "depth": depth, "attention": attention}
            params = {**action, **action_stream}
            self.action = make_from_params(ActionStream, params, "action and action_stream", **given)
            self.read_state = nn.Linear(self.action.shape[1], width)
        else:
            for encoder in self.tokens.encoders.values():  # keypoints are for actions
                encoder.logits.requires_grad_(False)
                encoder.values.requires_grad_(False)
                encoder.log_sharpness.requires_grad_(False)

    def observe(self, seen: Observation, *, video: bool = True) -> Memory:
        """Look at an observation, once; without `video` for actions alone, which want less."""
        features = {camera: self.tokens.look(camera, seen.frames[camera]) for camera in self.cameras}
        plan = None
        if self.action is not None:
            keypoints = [
                self.tokens.encoders[name].read(features[camera][:, -1]) * seen.valid[camera][:, None]
                for camera, name in self.tokens.cameras.items()
            ]
            sentence = seen.text.mean(dim=1)
            plan = self._make_plan(self.action.find(torch.cat(keypoints, dim=1), seen.state, sentence), seen)
        memory = self._begin(seen, plan)
        if video or self.looks:
            self._remember(seen, features, memory)
        return memory

    def imagine(self, told: Observation, objects: Tensor) -> Memory:
        """An observation without frames, where the objects (B, N, POSE) are told."""
        return self._begin(told, self._make_plan(objects, told))

    def _make_plan(self, objects: Tensor, seen: Observation) -> Plan:
        return self.action.make_plan(objects, seen.state, seen.text.mean(dim=1))

    def _begin(self, seen: Observation, plan: Plan | None) -> Memory:
        """A memory of the sentence, of earlier states and of the plan."""
        context = self.read_text(seen.text.mean(dim=1, keepdim=True) if self.pool_text else seen.text)
        if seen.past_states is not None:
            context = torch.cat([context, self.read_state(seen.past_states)], dim=1)
        if seen.features is not None:
            context = torch.cat([context, self.read_features(seen.features)], dim=1)
        always = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
        num = len(self.layers)
        keys = [layer.read_context(context, always) for layer in self.layers]
        return Memory(keys, [{} for _ in range(num)], [{} for _ in range(num)], {}, {}, plan)

    def _remember(self, seen: Observation, features: Mapping[str, Tensor], memory: Memory) -> None:
        """Fill a memory with what is shown."""
        x = {camera: self.tokens.shown(camera, seen.latents[camera], features[camera]) for camera in self.cameras}
        there = {
            camera: seen.valid[camera][:, None].expand(-1, x[camera].shape[1] * x[camera].shape[2]) for camera in x
        }
        told = self.level(torch.full_like(seen.history, GIVEN), seen.history)
        for number, layer in enumerate(self.layers):
            x, memory.exchanged[number] = self._exchange(number, x, there)
            parts = {camera: layer.project(x[camera], told) for camera in x}
            memory.shown[number] = {camera: Keys(k, v, there[camera]) for camera, (_, k, v) in parts.items()}
            if number + 1 < len(self.layers):  # after the last layer nobody asks for them
                for camera, (q, *_) in parts.items():
                    attended = attend(q, [memory.context[number], memory.shown[number][camera]])
                    x[camera] = layer.add(x[camera], told, attended)
        for camera in x:
            valid = seen.valid[camera][:, None, None, None]
            memory.remembered[camera] = self.head.remember(camera, features[camera][:, -1]) * valid
            memory.source[camera] = seen.latents[camera][:, -1] * valid

    def _exchange(
        self, number: int, x: dict[str, Tensor], seen: Mapping[str, Tensor], shown: Mapping[str, Keys] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Keys]]:
        """Tokens by camera after a look at those of the other cameras, and at what they have `shown`; their keys."""
        if not self.exchange or not x:
            return x, {}
        adapter = self.exchange[number]
        keys = {camera: adapter.read(x[camera], seen[camera]) for camera in x}
        seen_too = [keys] if shown is None else [keys, shown]
        around = {camera: [found[other] for found in seen_too for other in x if other != camera] for camera in x}
        return {camera: adapter(x[camera], around[camera]) for camera in x}, keys

    def forward(self, memory: Memory, frames: AskedFrames | None = None, actions: AskedActions | None = None) -> Answer:
        """Answer what is asked about an observation; without `frames` no video is computed at all."""
        x, told = ({}, {}) if frames is None else self._begin_frames(frames)
        every = {camera: torch.ones_like(tokens[..., 0], dtype=torch.bool).flatten(1) for camera, tokens in x.items()}
        acts, told_acts = (None, None) if actions is None else self._begin_actions(memory, actions)
        for number, layer in enumerate(self.layers):
            x, _ = self._exchange(number, x, every, memory.exchanged[number])
            parts = {camera: layer.project(x[camera], told[camera]) for camera in x}
            for_video: list[Keys] = []
            if actions is not None:
                seen = [Keys(*parts[camera][1:], ~frames.hidden[camera].flatten(1)) for camera in parts]
                acts, keys = self._act(number, acts, told_acts, memory, seen if self.action_sees_video else [])
                for_video = [keys._replace(seen=keys.seen & ~actions.hidden[:, None])] * self.video_sees_action
            for camera, (q, k, v) in parts.items():
                own = [memory.context[number], memory.shown[number][camera], Keys(k, v, every[camera])]
                x[camera] = layer.add(x[camera], told[camera], attend(q, own + for_video))
        x = {camera: self.own[camera](tokens) if camera in self.own else tokens for camera, tokens in x.items()}
        drawn = {c: self.head(c, x[c], memory.remembered[c], memory.source[c]) for c in x}
        return Answer(drawn, None if acts is None else self.action.finish(acts))

    def _begin_frames(self, frames: AskedFrames) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tokens of each camera (B, F, n, width), and what the layers are told about each frame (B, F, width)."""
        x = {camera: self.tokens.asked(camera, frames.content[camera], frames.given[camera]) for camera in self.cameras}
        return x, {camera: self.level(frames.level[camera], frames.seconds) for camera in self.cameras}

    def _begin_actions(self, memory: Memory, actions: AskedActions) -> tuple[Tensor, Tensor]:
        """Tokens (B, 1, N, width), and what the layers are told about them (B, 1, width)."""
        level = actions.level[:, None]
        return self.action.begin(memory.plan, actions.content), self.action.level(level, torch.zeros_like(level))

    def _act(self, number: int, acts: Tensor, told: Tensor, memory: Memory, video: list[Keys]) -> tuple[Tensor, Keys]:
        """One layer of the action stream, which sees all views and the frames of `video`; its keys before it."""
        layer = self.action.layers[number]
        q, k, v = layer.project(acts, told)
        keys = Keys(k, v, torch.ones_like(k[:, 0, :, 0], dtype=torch.bool))
        shown = memory.shown[number].values() if self.looks else ()
        seen = [memory.context[number], *shown, keys, *video]
        return layer.add(acts, told, attend(q, seen)), keys
