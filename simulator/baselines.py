"""Policies that need no learning: the expert's own commands again, and standing still."""

import numpy as np

from commands.errors import UserError
from simulator.engine import load_model
from simulator.recorder import Trajectory, simulate
from simulator.rollout import PERIOD, Observation
from simulator.studio import Studio

RECORDED_SAVE_FREQ = 15  # physics steps of 1/250 s: 16.7 Hz, a frame a command


def record_expert(task: str, seed: int, look: str = "train") -> Trajectory:
    """The expert's own episode of a scene, 16.7 frames a second.

    Raises:
        UserError: if it does not succeed.
    """
    trajectory = simulate(task, seed, RECORDED_SAVE_FREQ, look=look)
    if not trajectory.success:
        raise UserError(
            f"the expert cannot solve seed {seed} of {task}: choose another, as scripts/choose_seeds.py does."
        )
    return trajectory


class StandStill:
    """Keeps the target in force: the lower bound of every table."""

    cameras: tuple[str, ...] = ()
    size = 128
    privileged = False

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> np.ndarray:
        """Sixteen times the command in force, (16, 14)."""
        return np.tile(observation["command"], (16, 1))


class ExpertReplay(StandStill):
    """The expert's targets on the same scene, recorded at 16.7 Hz: the upper bound, and a test of the world."""

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Record the expert on the scene, keep its targets.

        Raises:
            UserError: if it does not succeed.
        """
        self._targets = record_expert(task, seed).states[1:]

    def act(self, observation: Observation) -> np.ndarray:
        """All targets; after them the last again and again."""
        targets, self._targets = self._targets, self._targets[-1:]
        return targets


class ExpertFuture:
    """What the expert's own episode of the scene shows some seconds after the moment most like the present.

    The moment is the nearest in joints and openings, and never goes back: the script cannot be asked from elsewhere.

    Args:
        seconds: ahead; past the end the last frame is shown.
        look: light and tints of the scene.
        camera: that looks.
    """

    def __init__(self, seconds: float, look: str = "train", camera: str = "head") -> None:
        if not 0 < seconds <= 60:
            raise UserError(f"--future truth:{seconds:g}; wanted more than 0 and at most 60 seconds.")
        self.ahead, self.look, self.camera = max(1, round(seconds / PERIOD)), look, camera
        self._studio: Studio | None = None

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Record the expert on the scene; raises as `record_expert`."""
        if self._studio is not None:
            self._studio.close()
        self._trajectory, self.moment = record_expert(task, seed, self.look), 0
        self._studio = Studio(load_model(self._trajectory.scene))

    def picture(self, observation: Observation) -> np.ndarray:
        """uint8 (240, 320, 3) RGB."""
        rest = self._trajectory.measured[self.moment :]
        self.moment += int(np.abs(rest - observation["agent_pos"]).sum(axis=1).argmin())
        self._studio.arrange(self._trajectory.qpos[min(self.moment + self.ahead, len(self._trajectory.qpos) - 1)])
        return self._studio.draw(self.camera)
