"""Loads a policy from a run folder of main.py, or from the folder of one that was published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commands.errors import UserError
from formats.pictures import resize_square
from formats.run_folder import find_run
from ldm.data.goal_windows import GOAL
from ldm.data.pixels import array_to_tensor, to_signed
from ldm.data.windows import pose_numbers
from ldm.models.joint.prediction import Answered
from ldm.models.joint.video_action import JointVideoAction
from ldm.models.policy.chunk_policy import ChunkPolicy, as_batch
from ldm.training.config import compose, save_config
from prediction.policies.goals import Goal, NoGoal
from prediction.policies.joint import JointRunPolicy
from prediction.trained_run import WEIGHTS, load_trained
from stable_diffusion.tensor_files import LazyTensor, write_tensor_file


class RunPolicy:
    """A trained ChunkPolicy, asked for one observation at a time."""

    def __init__(self, model: ChunkPolicy, digest: str) -> None:
        self.model, self._digest = model, digest
        names = dict.fromkeys(model.model["network"].cameras)
        self.goal: Goal | None = NoGoal() if GOAL in names else None  # of a policy that is shown the near future
        self._future = "none"
        self._names = {camera.removesuffix("_camera"): camera for camera in names if camera != GOAL}
        self.cameras, self.size = tuple(self._names), None  # pictures as they are drawn: prepared here as in training
        self.privileged = model.privileged

    def settings(self) -> dict[str, Any]:
        """What a rollouts folder keeps of it."""
        known = {"weights": self._digest, "chunk": self.model.chunk, "execute": self.model.execute}
        return known | ({} if self.goal is None else {"future": self._future})

    def show(self, goal: Goal, name: str) -> None:
        """Take the pictures of the near future from `goal`, which rollouts are to call `name`.

        Raises:
            UserError: if the policy was not trained with such pictures.
        """
        if self.goal is None:
            raise UserError("--future: the policy looks at no picture of the future; train configs/policy_goal.yaml.")
        self.goal, self._future = goal, name

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """An episode begins; nothing else is kept from one call to the next, the sentence is in each observation."""
        if self.goal is not None:
            self.goal.reset(instruction, task, seed)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """The part of the predicted chunk that is to be executed, (execute, D)."""
        seen = observation["pixels"]
        frames = {name: self._prepare(seen[camera], name) for camera, name in self._names.items()}
        if self.goal is not None:
            later, side = self.goal.picture(observation), self.model.cameras[GOAL]
            frames[GOAL] = torch.zeros(3, side, side) if later is None else self._prepare(later, GOAL)
        objects = None
        if self.privileged:
            objects = torch.zeros(self.model.model["network"].num_objects, 9)
            poses = torch.from_numpy(pose_numbers(observation["object_poses"]))
            objects[: len(poses)] = poses
        batch = as_batch(frames, observation["command"], observation["agent_pos"], observation["instruction"], objects)
        with torch.inference_mode():
            return self.model.predict(batch)[0, : self.model.execute].numpy()

    def _prepare(self, picture: np.ndarray, camera: str) -> torch.Tensor:
        return to_signed(array_to_tensor(resize_square(picture, self.model.cameras[camera])))


def load_run_policy(path: Path, mode: Answered = "policy") -> RunPolicy | JointRunPolicy:
    """The policy of a run folder, of a checkpoint in one, or of a published folder; the average predicts.

    Args:
        path: of the run.
        mode: how a model of video and action is asked; others have only `policy`.

    Raises:
        UserError: if there is none, it is no policy, or the weights do not fit.
    """
    run = load_trained(path)
    if isinstance(run.model, JointVideoAction):
        return JointRunPolicy(run.model, run.digest, mode)
    if mode != "policy":
        raise UserError(f"{mode}:{path}: a {type(run.model).__name__} imagines nothing; leave {mode}: out.")
    if not isinstance(run.model, ChunkPolicy):
        kind = type(run.model).__name__
        raise UserError(f"{path} holds a {kind}, which predicts pictures; wanted a run of a policy.")
    return RunPolicy(run.model, run.digest)


def publish(run: Path, output: Path, *, half: bool = False) -> None:
    """Write the averaged weights of a run, and what its config says of the model, where load_run_policy opens them.

    With `half` matrices are stored in float16; vectors, among them the scales of states and actions, stay as they are.
    """
    model = load_run_policy(run).model
    model.model_ema = None  # it predicts already
    node = compose([find_run(run)[0].config])["model"]
    output.mkdir(parents=True, exist_ok=True)
    weights = {
        name: LazyTensor.of(value.half() if half and value.ndim > 1 else value)
        for name, value in model.state_dict().items()
    }
    write_tensor_file(output / WEIGHTS, weights)
    save_config({"model": {**node, "params": {**node["params"], "ema_decay": 0}}}, output / "config.yaml")
