"""What a training step of a JointVideoAction costs, before it is taken: operations and memory, by shapes alone."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ldm.data.joint_windows import JointBatch
from ldm.models.joint.loss import measure_loss
from ldm.models.joint.training import TrainedJointVideoAction
from ldm.modules.policy.networks import POSE
from ldm.training.memory import LiveStorages


@dataclass(frozen=True)
class StepCost:
    """Of one micro-batch, forward and backward."""

    flop: int  # attention and the text encoder not counted
    memory: dict[str, int]  # bytes by part, in full precision


def example_batch(model: TrainedJointVideoAction, size: int, device: torch.device) -> JointBatch:
    """A whole batch as a model trains on, of zeros."""
    frames, history = len(model.video.seconds), len(model.video.history) + 1
    acting = model.actions
    state, chunk, objects = (acting.state_size, acting.chunk, acting.objects) if acting else (1, 1, 1)
    cameras = model.cameras

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(size, *shape, device=device)

    def there(*shape: int) -> Tensor:
        return torch.ones(size, *shape, dtype=torch.bool, device=device)

    return {
        "frames": {camera: zeros(history, 3, side, side) for camera, side in cameras.items()},
        "view_valid": {camera: there() for camera in cameras},
        "history": zeros(history),
        "future": {camera: zeros(frames, 3, side, side) for camera, side in cameras.items()},
        "future_valid": {camera: there(frames) for camera in cameras},
        "seconds": zeros(frames),
        "command": zeros(state),
        "measured": zeros(state),
        "past_commands": zeros(history - 1, state),
        "state_valid": there(),
        "actions": zeros(chunk, state),
        "action_valid": there(chunk) if acting else ~there(chunk),
        "objects": zeros(objects, POSE),
        "object_valid": there(objects),
        "instruction": [""] * size,
        "pair_id": [""] * size,
        "seed": torch.arange(size),
    }


def measure_step(model: TrainedJointVideoAction, size: int, more: int) -> StepCost:
    """Of a batch of `size` windows, with `more` windows without frames for each.

    Args:
        model: built on the meta device; is changed, and of no other use afterwards.
        size: of the micro-batch.
        more: see EpisodeWindows.
    """
    device = torch.device("meta")
    here = example_batch(model, size, torch.device("cpu"))
    levels = model.draw_levels(here)
    batch = example_batch(model, size, device)
    if more and model.actions is not None:
        batch["more"] = example_batch(model, size * more, device)
    length, width = model.text.max_length, model.text.width
    model.encode_instruction = lambda sentences: torch.zeros(len(sentences), length, width, device=device)
    model.draw_noise = lambda levels, rows, like: torch.empty_like(like)
    live = LiveStorages()
    with FlopCounterMode(display=False) as counter, live:
        measure_loss(model, batch, levels).loss.backward()
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() for p in model.trained_parameters())
    sizes = {"weights and their average": held, "gradients and moments": 12 * trained, "activations": live.peak}
    return StepCost(counter.get_total_flops(), sizes)
