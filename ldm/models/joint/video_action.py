"""Video and action together: from a sentence, the last frames and states, the frames to come and what to do.

    pi(l, o_{t-h:t}, s_{t-h:t}) -> (o_{t+dt}, a_{t+1:t+K})

The formula is GR-1's (arXiv 2312.13139). The architecture goes back to UVA, Unified Video Action Model (arXiv
2503.00200); of it is
    kept      one network for video and actions with two heads, frames as tokens of a first stage's latents, masked
              training whose masks make policy, video, forward and inverse modes, a policy that computes no video
    shrunk    the size: 2 to 4 million parameters (nano) instead of 0.5 billion; one frame to come instead of four
    changed   one joint latent => two streams that attend to each other (MMDiT; OpenWAM finds 92 against 85 %); masks =>
              noise levels, of each modality and frame its own (UWM); random patches => whole frames, as the deck has
              it (UVA's mask is an option); diffusion heads on a masked transformer's latent (MAR) => the streams
              themselves predict, in one step or many, actions by regression, two levels (MIP) or diffusion; cameras
              joined by channel => adapters between views; keypoints and where objects are beside the tokens
Acting needs no video: where the network `looks`, keys of what is seen are computed once; where not, not even those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from commands.errors import UserError
from ldm.data.joint_windows import Horizon, JointBatch
from ldm.models.diffusion.schedule import NoiseSchedule, Parameterization
from ldm.models.diffusion.timesteps import spaced_timesteps
from ldm.models.joint.joined_views import JOINED, JoinedViews
from ldm.models.joint.levels import LevelOptions, Levels, LevelSampler
from ldm.models.policy.scales import ActionScales
from ldm.modules.ema import LitEma
from ldm.modules.joint.network import JointNetwork, Memory, Observation
from ldm.util import instantiate_from_config, make_from_params

ActionLoss = Literal["regression", "mip", "diffusion"]
SECOND_LEVEL = 1 / 9  # noise over signal of MIP's second level, t* = 0.9 (arXiv 2512.01809)


@dataclass(frozen=True)
class VideoOptions:
    """How frames are predicted.

    Args:
        scale_factor: brings the first stage's latents to unit variance.
        parameterization: what the head is asked for; x0 with masks.
        training_steps: train only at the levels that a sampler of so many trailing steps visits; None: at all.
        weight: of the loss; 0: without video, whose modes then should have no share.
        seconds: of the frames to come, from now, or ranges of them; the data's.
        history: seconds before now of earlier frames; the data's.
        joined: camera => side of its pictures, of cameras that are joined by channel to the network's one; None: the
            network's cameras are the data's.
        features: node of a PictureTrunk, whose features of the present frame are shown beside the frames.
    """

    scale_factor: float
    parameterization: Parameterization = "x0"
    training_steps: int | None = None
    weight: float = 1.0
    seconds: Sequence[Horizon] = ((1.0, 4.0),)
    history: Sequence[float] = ()
    joined: Mapping[str, int] | None = None
    features: Mapping | None = None


@dataclass(frozen=True)
class ActionOptions:
    """How actions are predicted.

    Args:
        state_size: D, numbers of a state; actions are as many.
        chunk: K, actions predicted.
        execute: of them, how many are executed before the policy is asked again.
        objects: N, the most objects of a task.
        object_weight: of the loss of where the objects are.
        loss: `regression`: L1 from nothing; `mip`: L1 from nothing and from a nearly clean chunk, two steps;
            `diffusion`: velocity at all levels, `steps` steps.
        steps: of diffusion.
    """

    state_size: int
    chunk: int
    execute: int
    objects: int
    object_weight: float = 1.0
    loss: ActionLoss = "regression"
    steps: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.chunk:
            raise UserError(f"action.execute: {self.execute} of a chunk of {self.chunk}; wanted 1 to {self.chunk}.")
        if self.loss not in ("regression", "mip", "diffusion"):
            raise UserError(f"action.loss: '{self.loss}' is not one of regression, mip, diffusion.")


class JointVideoAction(ActionScales, nn.Module):
    """See the module.

    Args:
        network_config: node of a JointNetwork.
        cond_stage_config: node of a text encoder; one with gradients trains along.
        first_stage_config: node of the frozen autoencoder.
        schedule: parameters of NoiseSchedule.
        levels: parameters of LevelOptions.
        video: parameters of VideoOptions.
        action: parameters of ActionOptions; null: a model of video alone.
        learning_rate, weight_decay, scheduler_config, ema_decay: of training.
        rates: beginning of parameters' names, such as network.layers => factor of their learning rate.
        trainable_config: node of TrainedParts, parts: lora, for low-rank additions to all attention layers alone.
    """

    kind = "joint"

    def __init__(
        self,
        network_config: Mapping,
        cond_stage_config: Mapping,
        first_stage_config: Mapping,
        schedule: Mapping,
        levels: Mapping,
        video: Mapping,
        learning_rate: float,
        ema_decay: float,
        action: Mapping | None = None,
        weight_decay: float = 0.01,
        scheduler_config: Mapping | None = None,
        rates: Mapping[str, float] | None = None,
        trainable_config: Mapping | None = None,
    ) -> None:
        super().__init__()
        where = "model.params"
        self.video = make_from_params(VideoOptions, video, f"{where}.video")
        self.actions = None if action is None else make_from_params(ActionOptions, action, f"{where}.action")
        self.schedule = make_from_params(NoiseSchedule, schedule, f"{where}.schedule")
        self.first_stage_model = instantiate_from_config(first_stage_config, f"{where}.first_stage_config")
        self.first_stage_model.requires_grad_(False)
        text = instantiate_from_config(cond_stage_config, f"{where}.cond_stage_config")
        network = instantiate_from_config(network_config, f"{where}.network_config")
        self.cond_stage_trainable = any(p.requires_grad for p in text.parameters())
        self.model = nn.ModuleDict({"network": network} | ({"text": text} if self.cond_stage_trainable else {}))
        self.cond_stage_model = None if self.cond_stage_trainable else text  # named as in published weights
        features = self.video.features
        self.trunk = instantiate_from_config(features, f"{where}.video.features") if features else None
        self.joined = JoinedViews(self.video.joined, next(iter(self._sides().values()))) if self.video.joined else None
        self._check(text)
        self.sampler = self._make_sampler(make_from_params(LevelOptions, levels, f"{where}.levels"))
        self.learning_rate, self.weight_decay, self.optimizer_bits = learning_rate, weight_decay, 32
        self.scheduler_config, self.frame_loss, self.rates = scheduler_config, None, dict(rates or {})
        self.trainable_config = trainable_config
        self.model_ema = LitEma(self.model, ema_decay) if ema_decay else None
        if self.actions is not None:
            self.register_scales(self.actions.state_size, self.actions.chunk, self.actions.objects)

    def _check(self, text: nn.Module) -> None:
        """Refuse parts that do not fit each other."""
        grid, network = self.network.tokens.grid, self.network
        first = self.first_stage_model
        pictures = {name: encoder.pictures for name, encoder in network.tokens.encoders.items()}
        found = {"latent.channels": (grid.channels, self.pictures * first.latent_channels),
                 "cameras": (network.cameras, (JOINED,) if self.joined else network.cameras),
                 "encoders' pictures": (pictures, dict.fromkeys(pictures, self.pictures)),
                 "latent.factor": (grid.factor, first.downsampling_factor),
                 "text": (network.read_text.in_features, text.width)}  # fmt: skip
        if (self.actions is None) != (network.action is None):
            raise UserError("model.params: action and network_config.params.action go together; give both, or neither.")
        if self.actions is not None:
            wanted = (self.actions.chunk, self.actions.state_size)
            found["action.chunk and .actions"] = (network.action.shape, wanted)
            found["action.objects"] = (network.action.num_objects, self.actions.objects)
            found["action.state, twice state_size,"] = (network.action.told[0], 2 * self.actions.state_size)
        for name, (there, wanted) in found.items():
            if there != wanted:
                raise UserError(
                    f"model.params.network_config: its {name} is {there}; the model's other parts: {wanted}."
                )
        if (self.trunk is None) != (network.read_features is None):
            raise UserError("model.params: video.features and network_config.params.stream.features go together.")
        if network.head.masks and self.video.parameterization != "x0":
            raise UserError(
                "model.params.video: masks predict the clean latent; give parameterization: x0, or masks: 0."
            )

    def _make_sampler(self, options: LevelOptions) -> LevelSampler:
        """What draws levels, of those that prediction visits."""
        total, noisiest = self.schedule.timesteps, self.noisiest
        video = spaced_timesteps(total, self.video.training_steps or total, "trailing")
        if self.actions is None:
            actions = [noisiest]
        elif self.actions.loss == "diffusion":
            actions = list(range(total))
        else:
            actions = [noisiest, self.second_level] if self.actions.loss == "mip" else [noisiest]
        tokens = {camera: place.shape[0] for camera, place in self.network.tokens.place.items()}
        return LevelSampler(options, video, actions, noisiest, tokens)

    @property
    def network(self) -> JointNetwork:
        """The network."""
        return self.model["network"]

    @property
    def text(self) -> nn.Module:
        """The text encoder."""
        return self.model["text"] if self.cond_stage_trainable else self.cond_stage_model

    @property
    def cameras(self) -> dict[str, int]:
        """Camera => side of its pictures in pixels."""
        return dict(self.joined.cameras) if self.joined else self._sides()

    def _sides(self) -> dict[str, int]:
        """The same of the network's own cameras."""
        grid = self.network.tokens.grid
        return {c: int(len(place) ** 0.5) * grid.token_side for c, place in self.network.tokens.place.items()}

    @property
    def pictures(self) -> int:
        """V, pictures that lie on one another in a frame of the network's."""
        return len(self.joined.cameras) if self.joined else 1

    @property
    def _channels_of_a_mask(self) -> int:
        """Of a picture's latent, channels that different masks act on; all where there are none."""
        return self.network.head.masks // self.pictures or self.first_stage_model.latent_channels

    def join_views(self, batch: JointBatch) -> JointBatch:
        """The batch with the network's cameras."""
        return self.joined.join(batch) if self.joined else batch

    def split_views(self, frames: dict[str, Tensor]) -> dict[str, Tensor]:
        """Frames of the data's cameras, of those of the network's."""
        return self.joined.split(frames) if self.joined else frames

    @property
    def size_multiple(self) -> int:
        """What the sides of frames must be multiples of."""
        return self.network.tokens.grid.token_side

    @property
    def noisiest(self) -> int:
        """The timestep that tells nothing."""
        return self.schedule.timesteps - 1

    @property
    def second_level(self) -> int:
        """The timestep of MIP's second level."""
        sigma = self.schedule.noise / self.schedule.signal
        return 0 if sigma.is_meta else int((sigma - SECOND_LEVEL).abs().argmin())

    @property
    def action_parameterization(self) -> Parameterization:
        """What the action head is asked for."""
        return "v" if self.actions.loss == "diffusion" else "x0"

    def ema_scope(self) -> AbstractContextManager[None]:
        """Inside the block the average predicts."""
        return nullcontext() if self.model_ema is None else self.model_ema.shown_by(self.model)

    def describe_parts(self) -> dict[str, int]:
        """Parameters by part."""
        count = lambda *parts: sum(p.numel() for part in parts for p in part.parameters())  # noqa: E731
        network = self.network
        action = count(network.action) if network.action is not None else 0
        trunk = {} if self.trunk is None else {"picture predictor": count(self.trunk)}
        parts = {"encoders": count(network.tokens), "video stream": count(network) - count(network.tokens) - action}
        return parts | trunk | {"action stream": action, "text encoder": count(self.text),
                        "first stage": count(self.first_stage_model)}  # fmt: skip

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Scaled latents (B, T, C, h, w) of frames (B, T, 3, S, S) in [-1, 1]."""
        flat = rearrange(frames, "b t (v c) h w -> (v b t) c h w", v=self.pictures)
        latents = self.first_stage_model.encode(flat).mode()
        pattern = "(v b t) (k m) h w -> b t (k v m) h w"  # masks, which act on every M-th channel, are of one picture
        sizes = {"v": self.pictures, "b": len(frames), "m": self._channels_of_a_mask}
        return self.video.scale_factor * rearrange(latents, pattern, **sizes)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S), about [-1, 1], of scaled latents."""
        pattern, sizes = "b t (k v m) h w -> (v b t) (k m) h w", {"v": self.pictures, "m": self._channels_of_a_mask}
        frames = self.first_stage_model.decode(rearrange(latents, pattern, **sizes) / self.video.scale_factor)
        return rearrange(frames, "(v b t) c h w -> b t (v c) h w", v=self.pictures, b=len(latents))

    def encode_instruction(self, sentences: list[str]) -> Tensor:
        """Embedded sentences (B, L, width); each different one is embedded once."""
        different = list(dict.fromkeys(sentences))
        with torch.set_grad_enabled(self.cond_stage_trainable and torch.is_grad_enabled()):
            return self.text(different)[[different.index(told) for told in sentences]]

    def observation(self, batch: JointBatch, levels: Levels | None = None, *, video: bool = True) -> Observation:
        """A batch's frames, states and sentences as the network takes them, some of them hidden in training.

        Without `video` the frames are not encoded, unless actions look at them.
        """
        batch = self.join_views(batch)
        frames = {camera: batch["frames"][camera] for camera in self.network.cameras}
        sentences, shown = batch["instruction"], batch["view_valid"]
        if levels is not None:
            sentences = [told if tell else "" for told, tell in zip(sentences, levels.tell_text, strict=True)]
            shown = levels.shown
        encodes = video or self.network.looks
        latents = {camera: self.encode(seen) for camera, seen in frames.items()} if encodes else {}
        valid = {camera: shown[camera].to(batch["history"].device) for camera in frames}
        text = self.encode_instruction(sentences)
        state = past = None
        if self.actions is not None:
            known = batch["state_valid"][:, None]
            state = self.state_in_units(batch) * known
            past = (batch["past_commands"] - self.state_mean) / self.state_std * known[..., None]
        features = None if self.trunk is None else self.trunk(frames[self.trunk.camera][:, -1], sentences)
        return Observation(frames, latents, valid, batch["history"], text, state, past, features)

    def observe(self, batch: JointBatch, *, video: bool = True) -> Memory:
        """What the network makes of what a batch shows; without `video` for actions alone."""
        return self.network.observe(self.observation(batch, video=video), video=video)

    def draw_levels(self, batch: JointBatch) -> Levels:
        """What chance decides about a batch, by the seeds of its samples."""
        batch = self.join_views(batch)
        futures = {camera: batch["future_valid"][camera].cpu() for camera in self.network.cameras}
        shown = {camera: batch["view_valid"][camera].cpu() for camera in self.network.cameras}
        acts = batch["action_valid"].any(dim=1).cpu() & (self.actions is not None)
        return self.sampler.draw(batch["seed"].cpu(), acts, futures, shown)

    @staticmethod
    def draw_noise(levels: Levels, rows: Tensor, like: Tensor) -> Tensor:
        """Normal noise of the shape of `like`, each sample's from its own seed."""
        return torch.stack([torch.randn(like.shape[1:], generator=levels.generators[row]) for row in rows.tolist()]).to(
            like
        )
