"""A model of video and action at work: it acts on what it sees, and may imagine what it will see."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from formats.pictures import resize_square
from ldm.data.joint_windows import JointBatch, as_range
from ldm.data.pixels import array_to_tensor, tensor_to_array, to_signed, to_uint8
from ldm.models.joint.prediction import Answered, check_mode, predict
from ldm.models.joint.video_action import JointVideoAction


class JointRunPolicy:
    """A trained JointVideoAction, asked for one observation at a time.

    Args:
        model: whose weights are to predict.
        digest: of the weights.
        mode: `policy`; `joint`: it also imagines where its actions lead; `imagine`: it imagines, and acts to get there.
    """

    privileged = False
    size = None  # pictures as they are drawn: prepared here as in training

    def __init__(self, model: JointVideoAction, digest: str, mode: Answered = "policy") -> None:
        check_mode(model, mode)
        self.model, self.mode, self._digest = model, mode, digest
        self._names = {camera.removesuffix("_camera"): camera for camera in model.cameras}
        self.cameras = tuple(self._names)
        self.imagined: dict[str, np.ndarray] = {}  # camera => (S, S, 3) what it thinks to see, where it imagines
        self._seen: list[tuple[float, dict[str, Tensor], np.ndarray]] = []  # seconds, frames, command of earlier calls
        self._seed = 0

    def settings(self) -> dict[str, Any]:
        """What a rollouts folder keeps of it."""
        actions = self.model.actions
        return {"weights": self._digest, "mode": self.mode, "chunk": actions.chunk, "execute": actions.execute}

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Forget the last episode."""
        self.imagined, self._seen, self._seed = {}, [], seed

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """The part of the predicted chunk that is to be executed, (execute, D)."""
        frames = {name: self._prepare(observation["pixels"][camera], name) for camera, name in self._names.items()}
        now = float(observation["seconds"])
        self._seen.append((now, frames, np.asarray(observation["command"], np.float32)))
        with torch.inference_mode():
            answer = predict(self.model, self._batch(observation, now), self.mode, [self._seed])
        self.imagined = {
            camera: tensor_to_array(to_uint8(answer.frames[name][0, 0]))
            for camera, name in self._names.items()
            if name in answer.frames
        }
        return answer.actions[0, : self.model.actions.execute].numpy()

    def _prepare(self, picture: np.ndarray, camera: str) -> Tensor:
        return to_signed(array_to_tensor(resize_square(picture, self.model.cameras[camera])))

    def _batch(self, observation: Mapping[str, Any], now: float) -> JointBatch:
        """A batch of one; earlier frames are those of earlier calls, each the nearest to its time."""
        wanted = [now - seconds for seconds in self.model.video.history]
        shown = [min(self._seen, key=lambda call, at=at: abs(call[0] - at)) for at in wanted] + [self._seen[-1]]
        asked = [as_range(told)[0] for told in self.model.video.seconds]
        commands = torch.from_numpy(np.stack([command for _, _, command in shown]))
        names = self._names.values()
        return {
            "frames": {name: torch.stack([frames[name] for _, frames, _ in shown])[None] for name in names},
            "view_valid": {name: torch.ones(1, dtype=torch.bool) for name in names},
            "history": torch.tensor([[at - now for at, _, _ in shown]], dtype=torch.float32),
            "seconds": torch.tensor([asked], dtype=torch.float32),
            "command": commands[-1:],
            "measured": torch.from_numpy(np.asarray(observation["agent_pos"], np.float32))[None],
            "past_commands": commands[None, :-1],
            "state_valid": torch.ones(1, dtype=torch.bool),
            "instruction": [observation["instruction"]],
        }
