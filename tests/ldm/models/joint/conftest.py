"""A tiny model of video and action, and batches for it."""

import pytest
import torch

from ldm.models.joint.video_action import JointVideoAction
from ldm.modules.policy.networks import POSE
from tests.ldm.models.policy.test_chunk_policy import make_statistics, scales

CAMERAS = {"head": 32, "left": 16, "right": 16}
D, K, N = 14, 4, 2


@pytest.fixture
def make_joint():
    """Makes a model; changes are its parameters, `network` those of its network."""

    def make(network=None, statistics=True, cameras=tuple(CAMERAS), **changes) -> JointVideoAction:
        torch.manual_seed(0)
        encoder = {"channels": 8, "keypoints": 4, "blocks": 1, "values": 2}
        params = {
            "encoders": {"head": encoder, "wrist": encoder},
            "cameras": {camera: "head" if camera == "head" else "wrist" for camera in cameras},
            "sides": CAMERAS,
            "latent": {"channels": 48, "factor": 4, "patch": 2},
            "stream": {"width": 16, "heads": 2, "head_channels": 8, "depth": 2, "adapters": 8},
            "decoder": {"channels": 8, "masks": 16},
            "text": {"width": 8, "pooled": True},
            "action_stream": {"width": 24, "hidden": 16, "layers": 1, "steps_per_token": 2},
            "action": {"state": 2 * D, "actions": D, "chunk": K, "objects": N},
            "adapters": True,
        } | (network or {})
        text = {"width": 8, "layers": 1, "heads": 2, "max_length": 24}
        options = {
            "network_config": {"target": "ldm.modules.joint.network.JointNetwork", "params": params},
            "cond_stage_config": {"target": "ldm.modules.encoders.modules.ByteTextEmbedder", "params": text},
            "first_stage_config": {
                "target": "ldm.models.autoencoder.PatchFirstStage",
                "params": {"patch_size": 4},
            },
            "schedule": {"timesteps": 50, "linear_start": 0.001, "linear_end": 0.1, "terminal_signal": 1e-3},
            "levels": {"shares": {"joint": 0.2, "policy": 0.2, "video": 0.2, "forward": 0.2, "inverse": 0.2}},
            "video": {"scale_factor": 1.0, "training_steps": 1},
            "action": {"state_size": D, "chunk": K, "execute": 2, "objects": N},
            "learning_rate": 1e-3,
            "ema_decay": 0.99,
        } | changes
        model = JointVideoAction(**options)
        if statistics and model.actions is not None:
            model.learn_statistics(make_statistics(), scales())
        return wake(model)

    return make


def wake(model: JointVideoAction) -> JointVideoAction:
    """Give every gate that starts at zero a value, as training does, but leave the adapters' as they are."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if ".modulation." in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    if model.model_ema is not None:
        model.model_ema.reset(model.model)
    return model.eval()


@pytest.fixture
def make_joint_batch():
    """Makes a batch of random windows."""

    def make(size=3, frames=1, history=1) -> dict:
        generator = torch.Generator().manual_seed(1)
        rand = lambda *shape: torch.rand(*shape, generator=generator) * 2 - 1  # noqa: E731
        yes = lambda *shape: torch.ones(*shape, dtype=torch.bool)  # noqa: E731
        return {
            "frames": {camera: rand(size, history, 3, side, side) for camera, side in CAMERAS.items()},
            "view_valid": {camera: yes(size) for camera in CAMERAS},
            "history": torch.arange(1 - history, 1).float().expand(size, history),
            "future": {camera: rand(size, frames, 3, side, side) for camera, side in CAMERAS.items()},
            "future_valid": {camera: yes(size, frames) for camera in CAMERAS},
            "seconds": torch.arange(1, frames + 1).float().expand(size, frames),
            "command": rand(size, D),
            "measured": rand(size, D),
            "past_commands": rand(size, history - 1, D),
            "state_valid": yes(size),
            "actions": rand(size, K, D),
            "action_valid": yes(size, K),
            "objects": rand(size, N, POSE),
            "object_valid": yes(size, N),
            "instruction": ["stack blocks", "hand over the block", "stack blocks"][:size],
            "pair_id": [f"push/0/{row}" for row in range(size)],
            "seed": torch.arange(size),
        }

    return make
