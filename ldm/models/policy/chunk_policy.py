"""A policy that predicts a chunk of actions by regression.

    pi(l, o_t, s_t) -> a_{t+1 : t+K}

with the sentence l, the pictures o_t of several cameras, and the state s_t: the command in force and the measured
joints. Actions are told relative to the command in force, in units of a scale for each step of the chunk; the loss is
L1, as of ACT (arXiv 2304.13705), section IV. Scales come from the training data and travel with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from commands.errors import UserError
from formats.prepared_episodes import Statistics
from ldm.data.windows import EpisodeBatch
from ldm.modules.ema import LitEma
from ldm.modules.policy.networks import POSE, ActionPlan
from ldm.util import instantiate_from_config

LAG_SCALE = 0.02  # radians or metres: what a measured joint typically lags behind its command
HASH_BYTES = 32  # of SHA-256


@dataclass(frozen=True)
class PolicyLoss:
    """Losses of a batch, () each."""

    loss: Tensor
    actions: Tensor
    objects: Tensor | None


class ChunkPolicy(nn.Module):
    """Sentence, pictures and state to a chunk of targets.

    Args:
        network_config: node of a network of ldm.modules.policy.networks.
        cond_stage_config: node of a text encoder, trained along; its tokens are averaged.
        learning_rate, weight_decay, scheduler_config, optimizer_bits, ema_decay: of training.
        state_size: D, numbers of a state; actions are as many.
        chunk: K, actions predicted.
        execute: of them, how many are executed before the policy is asked again.
        cameras: camera => side in pixels of what it is shown; as the training data have it.
        objects: N, the most objects of a task.
        object_weight: of the loss of where the objects are; 0 leaves it out.
    """

    kind = "policy"
    size_multiple = 4  # of the sides of its pictures

    def __init__(
        self,
        network_config: Mapping,
        cond_stage_config: Mapping,
        learning_rate: float,
        state_size: int,
        chunk: int,
        execute: int,
        cameras: Mapping[str, int],
        objects: int,
        object_weight: float,
        ema_decay: float,
        weight_decay: float = 0.01,
        scheduler_config: Mapping | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= execute <= chunk:
            raise UserError(f"model.params.execute: {execute} of a chunk of {chunk}; wanted 1 to {chunk}.")
        text = instantiate_from_config(cond_stage_config, "model.params.cond_stage_config")
        network = instantiate_from_config(network_config, "model.params.network_config")
        wanted = {"shape": (chunk, state_size), "num_objects": objects, "told": (2 * state_size, text.width)}
        for name, value in wanted.items():
            if getattr(network, name) != value:
                raise UserError(
                    f"model.params.network_config: its {name} is {getattr(network, name)}, the model's {value}: state "
                    "is twice state_size, text the text encoder's width, actions and chunk as the model's."
                )
        if network.cameras.keys() - cameras.keys():
            raise UserError(f"model.params.cameras: {sorted(network.cameras)} are wanted, {sorted(cameras)} are given.")
        self.model = nn.ModuleDict({"network": network, "text": text})
        self.learning_rate, self.weight_decay, self.optimizer_bits = learning_rate, weight_decay, 32
        self.scheduler_config, self.frame_loss = scheduler_config, None
        self.chunk, self.execute, self.cameras = chunk, execute, dict(cameras)
        self.object_weight = object_weight
        self.model_ema = LitEma(self.model, ema_decay) if ema_decay else None
        for name, shape in (("state_mean", (state_size,)), ("state_std", (state_size,)),
                            ("action_mean", (chunk, state_size)), ("action_std", (chunk, state_size)),
                            ("object_mean", (objects, POSE)), ("object_std", (objects, POSE)),
                            ("statistics_hash", (HASH_BYTES,))):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

    @property
    def privileged(self) -> bool:
        """Whether it has to be told where the objects are."""
        return self.model["network"].privileged

    def ema_scope(self) -> AbstractContextManager[None]:
        """Inside the block the average predicts."""
        return nullcontext() if self.model_ema is None else self.model_ema.shown_by(self.model)

    def describe_parts(self) -> dict[str, int]:
        """Parameters by part."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.model.items()}

    def learn_statistics(self, statistics: Statistics, objects: tuple[Tensor, Tensor]) -> None:
        """Take the scales of the training data, or check that they are those that the model knows.

        Args:
            statistics: of states and actions.
            objects: mean and scale of where objects are, (N, 9) each.

        Raises:
            UserError: if the model was trained with the scales of other data, or the sizes differ.
        """
        digest = torch.tensor(list(bytes.fromhex(statistics.digest())), dtype=self.statistics_hash.dtype)
        digest = digest.to(self.statistics_hash.device)
        if self.statistics_hash.any():
            if not torch.equal(digest, self.statistics_hash):
                raise UserError(
                    "the model was trained with the scales of other data; go on with those, or begin a new run."
                )
            return
        if len(statistics.state_mean) != len(self.state_mean):
            raise UserError(
                f"the data have states of {len(statistics.state_mean)} numbers, model.params.state_size is "
                f"{len(self.state_mean)}."
            )
        if not statistics.relative:
            raise UserError("the data's scales are of deltas; prepare the episodes with --actions targets.")
        for name in ("state_mean", "state_std", "action_mean", "action_std"):
            getattr(self, name).copy_(torch.tensor(getattr(statistics, name))[: len(getattr(self, name))])
        self.object_mean.copy_(objects[0])
        self.object_std.copy_(objects[1])
        self.statistics_hash.copy_(digest)

    def plan(self, batch: EpisodeBatch) -> ActionPlan:
        """What the network answers to a batch, in its own units."""
        objects = self._in_units(batch["objects"]) if self.privileged else None
        return self.model["network"](batch["frames"], *self._tell(batch), objects)

    def _tell(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """State (B, 2 D) and sentence (B, T) in the network's units."""
        state = torch.cat(
            [(batch["command"] - self.state_mean) / self.state_std, (batch["measured"] - batch["command"]) / LAG_SCALE],
            dim=1,
        )
        sentences = list(dict.fromkeys(batch["instruction"]))  # a batch has many frames and few sentences
        text = self.model["text"](sentences).mean(dim=1)[[sentences.index(told) for told in batch["instruction"]]]
        return state, text

    def _in_units(self, objects: Tensor) -> Tensor:
        """Object poses (B, N, 9) without their mean, in units of their scale."""
        return (objects - self.object_mean) / self.object_std

    def _present(self, batch: EpisodeBatch) -> Tensor:
        """Object poses in units, zeros where there is no such object."""
        return self._in_units(batch["objects"]) * batch["object_valid"][..., None]

    def predict(self, batch: EpisodeBatch) -> Tensor:
        """Targets (B, K, D), radians and metres."""
        relative = self.plan(batch).actions * self.action_std + self.action_mean
        return batch["command"][:, None] + relative

    def losses(self, batch: EpisodeBatch) -> PolicyLoss:
        """L1 of the actions that are there, in units of their scales, and of where the objects are.

        Windows without pictures (`more`) add their own mean: there the actions follow from where the objects truly are,
        but for a little noise. A slot without an object is to be told as zeros, where the episode has objects at all.
        """
        plan = self.plan(batch)
        actions = self._actions_off(plan.actions, batch)
        if "more" in batch:
            more = batch["more"]
            decided = self.model["network"].decide(*self._tell(more), self._present(more))
            actions = actions + self._actions_off(decided, more)
        if plan.objects is None or not self.object_weight:
            return PolicyLoss(actions, actions, None)
        told = batch["object_valid"].any(dim=1, keepdim=True).expand_as(batch["object_valid"])
        objects = _mean_where(torch.abs(plan.objects - self._present(batch)), told)
        return PolicyLoss(actions + self.object_weight * objects, actions, objects)

    def _actions_off(self, actions: Tensor, batch: EpisodeBatch) -> Tensor:
        wanted = (batch["actions"] - batch["command"][:, None] - self.action_mean) / self.action_std
        return _mean_where(torch.abs(actions - wanted), batch["action_valid"])


def _mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, N, C) over the (B, N) that are valid; 0, with a gradient of 0, where none is."""
    chosen = values * valid[..., None]
    return chosen.sum() / (valid.sum() * values.shape[-1]).clamp(min=1)


def as_batch(
    frames: Mapping[str, Tensor],
    command: Sequence[float],
    measured: Sequence[float],
    instruction: str,
    objects: Tensor | None = None,
) -> dict:
    """A batch of one, of what is seen and known now."""
    batch = {
        "frames": {camera: frame[None] for camera, frame in frames.items()},
        "command": torch.as_tensor(command, dtype=torch.get_default_dtype())[None],
        "measured": torch.as_tensor(measured, dtype=torch.get_default_dtype())[None],
        "instruction": [instruction],
    }
    return batch | ({} if objects is None else {"objects": objects[None]})
