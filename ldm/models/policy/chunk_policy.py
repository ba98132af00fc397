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
from ldm.data.windows import EpisodeBatch
from ldm.models.policy.scales import ActionScales
from ldm.modules.ema import LitEma
from ldm.modules.policy.networks import ActionPlan
from ldm.util import instantiate_from_config


@dataclass(frozen=True)
class PolicyLoss:
    """Losses of a batch, () each."""

    loss: Tensor
    actions: Tensor
    objects: Tensor | None


class ChunkPolicy(ActionScales, nn.Module):
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
        self.register_scales(state_size, chunk, objects)

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

    def plan(self, batch: EpisodeBatch) -> ActionPlan:
        """What the network answers to a batch, in its own units."""
        objects = self.objects_in_units(batch["objects"]) if self.privileged else None
        return self.model["network"](batch["frames"], *self._tell(batch), objects)

    def _tell(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """State (B, 2 D) and sentence (B, T) in the network's units."""
        state = self.state_in_units(batch)
        sentences = list(dict.fromkeys(batch["instruction"]))  # a batch has many frames and few sentences
        text = self.model["text"](sentences).mean(dim=1)[[sentences.index(told) for told in batch["instruction"]]]
        return state, text

    def predict(self, batch: EpisodeBatch) -> Tensor:
        """Targets (B, K, D), radians and metres."""
        return self.targets(self.plan(batch).actions, batch["command"])

    def losses(self, batch: EpisodeBatch) -> PolicyLoss:
        """L1 of the actions that are there, in units of their scales, and of where the objects are.

        Windows without pictures (`more`) add their own mean: there the actions follow from where the objects truly are,
        but for a little noise. A slot without an object is to be told as zeros, where the episode has objects at all.
        """
        plan = self.plan(batch)
        actions = self.actions_off(plan.actions, batch)
        if "more" in batch:
            more = batch["more"]
            decided = self.model["network"].decide(*self._tell(more), self.objects_present(more))
            actions = actions + self.actions_off(decided, more)
        if plan.objects is None or not self.object_weight:
            return PolicyLoss(actions, actions, None)
        objects = self.objects_off(plan.objects, batch)
        return PolicyLoss(actions + self.object_weight * objects, actions, objects)


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
