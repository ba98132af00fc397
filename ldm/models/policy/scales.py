"""Scales of states, actions and objects: a model that acts learns them from its training data and keeps them.

Actions are told relative to the command in force, in units of a scale for each step of the chunk.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from commands.errors import UserError
from formats.prepared_episodes import ARM, Statistics
from ldm.modules.policy.networks import POSE

LAG_SCALE = 0.02  # radians or metres: what a measured joint typically lags behind its command
HASH_BYTES = 32  # of SHA-256


class ActionScales:
    """Buffers of a module and the arithmetic with them; to be mixed with nn.Module."""

    def register_scales(self, state_size: int, chunk: int, objects: int) -> None:
        """Make the buffers, zero until `learn_statistics`."""
        for name, shape in (("state_mean", (state_size,)), ("state_std", (state_size,)),
                            ("action_mean", (chunk, state_size)), ("action_std", (chunk, state_size)),
                            ("object_mean", (objects, POSE)), ("object_std", (objects, POSE)),
                            ("statistics_hash", (HASH_BYTES,))):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

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

    def state_in_units(self, batch: Mapping) -> Tensor:
        """(B, 2 D): the command in force, and what the measured joints lag behind it."""
        command = (batch["command"] - self.state_mean) / self.state_std
        return torch.cat([command, (batch["measured"] - batch["command"]) / LAG_SCALE], dim=1)

    def actions_in_units(self, batch: Mapping) -> Tensor:
        """Actions (B, K, D) relative to the command in force."""
        return (batch["actions"] - batch["command"][:, None] - self.action_mean) / self.action_std

    def targets(self, actions: Tensor, command: Tensor) -> Tensor:
        """Targets (B, K, D), radians and metres, of actions in units and the command (B, D) in force."""
        return command[:, None] + (actions * self.action_std + self.action_mean)

    def objects_in_units(self, objects: Tensor) -> Tensor:
        """Object poses (B, N, 9) without their mean, in units of their scale."""
        return (objects - self.object_mean) / self.object_std

    def objects_present(self, batch: Mapping) -> Tensor:
        """Object poses in units, zeros where there is no such object."""
        return self.objects_in_units(batch["objects"]) * batch["object_valid"][..., None]

    def actions_off(self, actions: Tensor, batch: Mapping) -> Tensor:
        """L1 () of actions in units (B, K, A), of those that there are."""
        return mean_where(torch.abs(actions - self.actions_in_units(batch)), batch["action_valid"])

    def joints_off_mrad(self, targets: Tensor, batch: Mapping) -> Tensor:
        """Mean error () of targets (B, K, D), grippers left out, of those that there are; nan where there is none."""
        joints = torch.ones_like(self.state_mean, dtype=torch.bool)
        joints[ARM - 1 :: ARM] = False
        return 1e3 * (targets - batch["actions"]).abs()[..., joints][batch["action_valid"]].mean()

    def objects_off_cm(self, objects: Tensor, batch: Mapping) -> Tensor:
        """Mean distance () of objects in units (B, N, 9) from where they are; nan where there is none."""
        aside = (objects * self.object_std + self.object_mean - batch["objects"])[..., :3].norm(dim=-1)
        return 1e2 * aside[batch["object_valid"]].mean()

    def objects_off(self, objects: Tensor, batch: Mapping) -> Tensor:
        """L1 () of objects in units (B, N, 9); one that the task has not is zeros, in episodes that have any."""
        told = batch["object_valid"].any(dim=1, keepdim=True).expand_as(batch["object_valid"])
        return mean_where(torch.abs(objects - self.objects_present(batch)), told)


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, N, C) over the (B, N) that are valid; 0, with a gradient of 0, where none is."""
    chosen = values * valid[..., None]
    return chosen.sum() / (valid.sum() * values.shape[-1]).clamp(min=1)
