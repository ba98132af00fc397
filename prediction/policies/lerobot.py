"""LeRobot's policies in our simulator (`--policy lerobot:<path or Hub id>`), and ours in LeRobot.

Convention (lerobot 0.4 to 0.6): a policy has reset() and predict_action_chunk(batch) -> (B, K, D) or
select_action(batch) -> (B, D); a batch holds observation.images.<camera> (B, 3, H, W) in [0, 1], observation.state
(B, D) and task, a list of sentences. Its pre- and postprocessor scale the numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import nn

from commands.errors import MissingPackageError, UserError

IMAGES, STATE, TASK = "observation.images.", "observation.state", "task"
CAMERA_TAIL = "_camera"  # dataset_tools.export_lerobot names cameras as RoboTwin does: head_camera


class LeRobotPolicy:
    """Anything with LeRobot's methods, asked for one observation at a time.

    Args:
        policy: of LeRobot; its config.input_features name cameras, and their shapes say how large pictures are.
        before, after: its pre- and postprocessor, batch => batch and actions => actions.
        execute: actions of a chunk that are executed; None takes the policy's own n_action_steps.
    """

    privileged = False
    size = None  # pictures as they are drawn: squeezed here to what the policy wants

    def __init__(self, policy: Any, before: Callable, after: Callable, execute: int | None = None) -> None:
        self._policy, self._before, self._after = policy, before, after
        features = getattr(policy.config, "input_features", {})
        self._shapes = {
            name.removeprefix(IMAGES): tuple(feature.shape)
            for name, feature in features.items()
            if name.startswith(IMAGES)
        }
        self.cameras = tuple(name.removesuffix(CAMERA_TAIL) for name in self._shapes)
        self._execute = execute or getattr(policy.config, "n_action_steps", None)
        self._instruction = ""

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Forget the last episode's queue of actions."""
        self._instruction = instruction
        self._policy.reset()

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """A chunk where the policy predicts chunks, else one action: (K, D)."""
        batch = self._before(self.make_batch(observation))
        with torch.inference_mode():
            if hasattr(self._policy, "predict_action_chunk"):
                actions = self._policy.predict_action_chunk(batch)[0, : self._execute]
            else:
                actions = self._policy.select_action(batch)
        return torch.stack([self._after(action[None])[0] for action in actions]).float().numpy()

    def make_batch(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """LeRobot's batch of one. The state is the command in force, as in the data that export_lerobot writes."""
        batch: dict[str, Any] = {
            STATE: torch.as_tensor(observation["command"], dtype=torch.get_default_dtype())[None],
            TASK: [self._instruction],
        }
        for name, (_, height, width) in self._shapes.items():
            picture = observation["pixels"][name.removesuffix(CAMERA_TAIL)]
            pixels = rearrange(torch.from_numpy(picture.copy()), "h w c -> 1 c h w") / 255.0
            batch[IMAGES + name] = torch.nn.functional.interpolate(pixels, (height, width), mode="area")
        return batch


class PolicyForLeRobot(nn.Module):
    """One of our policies with the methods by which LeRobot plays one: its evaluation, its robots, its servers.

    A module without weights, since LeRobot's rollout refuses anything else.

    What they hand over as the state is the command in force; the measured joints are taken to have reached it.

    Args:
        make_policy: () => a policy of ours; a batch of B observations has B of them, as each has an episode.
    """

    name = "frame_prediction"

    def __init__(self, make_policy: Callable[[], Any]) -> None:
        super().__init__()
        self._make_policy = make_policy
        self.reset()

    def reset(self) -> None:
        """Start all episodes."""
        self._policies: list[Any] = []
        self._queue: list[torch.Tensor] = []

    def predict_action_chunk(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Targets (B, K, D), radians and metres, of a batch as LeRobotPolicy.make_batch makes."""
        states = batch[STATE]
        if not self._policies:
            self._policies = [self._make_policy() for _ in states]
            for policy, sentence in zip(self._policies, batch[TASK], strict=True):
                policy.reset(sentence, "", 0)
        chunks = [
            policy.act(
                {
                    "pixels": {camera: _as_picture(batch, camera, row) for camera in policy.cameras},
                    "command": states[row].double().numpy(force=True),
                    "agent_pos": states[row].double().numpy(force=True),
                    "instruction": batch[TASK][row],
                }
            )
            for row, policy in enumerate(self._policies)
        ]
        return torch.as_tensor(np.stack(chunks), dtype=states.dtype, device=states.device)

    def select_action(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """The next targets (B, D): the queue of the last chunk, or of a new one where that is empty."""
        if not self._queue:
            self._queue = list(self.predict_action_chunk(batch).unbind(dim=1))
        return self._queue.pop(0)


def _as_picture(batch: Mapping[str, Any], camera: str, row: int) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] by one of the camera's two names => uint8 (H, W, 3)."""
    names = [IMAGES + camera, IMAGES + camera + CAMERA_TAIL]
    found = next((name for name in names if name in batch), None)
    if found is None:
        raise UserError(f"the policy looks through the camera {camera}: wanted {names[0]} in the batch.")
    pixels = rearrange(batch[found][row], "c h w -> h w c").numpy(force=True)
    return np.round(255 * pixels).astype(np.uint8)


def load_lerobot_policy(path: str) -> LeRobotPolicy:
    """A pretrained policy of a folder or of the Hub, with its own pre- and postprocessor.

    Raises:
        MissingPackageError: without lerobot.
        UserError: if LeRobot cannot load it.
    """
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise MissingPackageError(
            f"--policy lerobot:{path} needs lerobot ({error}): pip install -e .[lerobot] (0.5 wants Python 3.12), or "
            "serve the policy from an environment of its own by prediction.policies.server."
        ) from error
    try:
        config = PreTrainedConfig.from_pretrained(path)
        policy = get_policy_class(config.type).from_pretrained(path).eval()
        before, after = make_pre_post_processors(config, pretrained_path=path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--policy lerobot:{path}: LeRobot cannot load it ({error}).") from error
    return LeRobotPolicy(policy, before, after)
