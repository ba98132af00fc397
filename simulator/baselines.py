"""Policies that need no learning: the expert's own commands again, and standing still."""

import numpy as np

from commands.errors import UserError
from simulator.recorder import simulate
from simulator.rollout import Observation

RECORDED_SAVE_FREQ = 15  # physics steps of 1/250 s: 16.7 Hz


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
        trajectory = simulate(task, seed, RECORDED_SAVE_FREQ)
        if not trajectory.success:
            raise UserError(
                f"the expert cannot solve seed {seed} of {task}: choose another, as scripts/choose_seeds.py does."
            )
        self._targets = trajectory.states[1:]

    def act(self, observation: Observation) -> np.ndarray:
        """All targets; after them the last again and again."""
        targets, self._targets = self._targets, self._targets[-1:]
        return targets
