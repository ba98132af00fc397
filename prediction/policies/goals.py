"""The picture of the near future that a policy trained on ldm.data.goal_windows is shown: the rungs of a ladder.

none                   grey: the policy has to do without
copy                   the present once more
predicted[:<model>]    what a picture model predicts from the present; the bundled one, a checkpoint or a run
truth[:<seconds>]      what the expert's own episode of this scene shows so much later (simulator.baselines)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from commands.errors import UserError
from formats.pictures import resize_square
from ldm.data.pixels import array_to_tensor, tensor_to_array
from prediction.load import load_predictor
from prediction.model_request import BUNDLED, ModelRequest


class Goal(Protocol):
    """Where a picture of the near future comes from."""

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """An episode begins."""

    def picture(self, observation: Mapping[str, Any]) -> np.ndarray | None:
        """uint8 (H, W, 3) RGB of the head camera; None for none."""


class NoGoal:
    """Nothing is shown."""

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Nothing to forget."""

    def picture(self, observation: Mapping[str, Any]) -> np.ndarray | None:
        """None."""


class CopiedGoal(NoGoal):
    """The present picture: of the right size and light, and without news."""

    def picture(self, observation: Mapping[str, Any]) -> np.ndarray:
        """What the head camera sees now."""
        return observation["pixels"]["head"]


class PredictedGoal(NoGoal):
    """What a picture model predicts, at the horizon that it was trained for."""

    def __init__(self, ckpt: Path) -> None:
        self.loaded = load_predictor(ModelRequest(ckpt=ckpt))

    def picture(self, observation: Mapping[str, Any]) -> np.ndarray:
        """The prediction from what the head camera sees now, always drawn from seed 0."""
        predictor = self.loaded.predictor
        frame = array_to_tensor(resize_square(observation["pixels"]["head"], predictor.resolution))[None]
        return tensor_to_array(predictor.predict(frame, [self.loaded.sentence(observation["instruction"])], [0])[0])


def make_goal(text: str) -> Goal:
    """The source that a word names; `truth` is not among them, since the simulator alone knows it.

    Raises:
        UserError: if there is no such source, or the model cannot be loaded.
    """
    kind, _, rest = text.partition(":")
    if kind == "predicted":
        return PredictedGoal(Path(rest) if rest else BUNDLED)
    plain = {"none": NoGoal, "copy": CopiedGoal}
    if text not in plain:
        raise UserError(f"--future {text}: wanted none, copy, predicted[:<checkpoint or run>] or truth[:<seconds>].")
    return plain[text]()
