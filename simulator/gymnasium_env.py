"""The three tasks as Gymnasium environments: the only module that imports gymnasium (`pip install -e .[gym]`).

    import gymnasium
    env = gymnasium.make("simulator.gymnasium_env:robot_tasks/BlockHammerBeat-v0", cameras=("head", "left", "right"))
    observation, info = env.reset(seed=100_000_000)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

Observations and names are those that LeRobot's environments have. No OpenGL is opened before the first reset, so that
environments can be made here and played in other processes.
"""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle

from commands.errors import UserError
from simulator.robot import STATE_SIZE
from simulator.rollout import PERIOD, STEP_LIMITS
from simulator.studio import check_cameras
from simulator.tasks import TASKS, find_task
from simulator.world import HOLD_SECONDS, World, read_limits

OBSERVATIONS = ("pixels", "pixels_agent_pos", "environment_state_agent_pos")
FREE_SEEDS = (200_000_000, 2**31)  # where reset draws from when no seed is given: neither training nor testing
IDS = {"".join(word.title() for word in task.split("_")) + "-v0": task for task in TASKS}


class RobotTask(gymnasium.Env, EzPickle):
    """One task. An action is (14,) absolute targets in radians and metres, reached on a straight line in `period`.

    Reward is 1 in the step in which the task is first done, which ends the episode. `info` says `is_success`,
    `is_success_now`, `held` (whether the success lasted a second, None before), `parts`, `seed`, `instruction`,
    `clipped` (actions beyond the limits so far) and `measured` (14,) joints.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / PERIOD)}  # noqa: RUF012 (gymnasium's own form)

    def __init__(
        self,
        task: str,
        *,
        cameras: tuple[str, ...] = ("head",),
        image_size: int = 128,
        obs_type: str = "pixels_agent_pos",
        look: str = "train",
        period: float = PERIOD,
        unseen_instructions: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Only construct; nothing is built or drawn before `reset`.

        Args:
            task: one of simulator.tasks.TASKS.
            cameras: head, front, left, right.
            image_size: side of the square pictures.
            obs_type: pixels, pixels_agent_pos, or environment_state_agent_pos (poses of the objects, no pictures).
            look: of scene.LOOKS: "train", "dark", "bright", or "unseen" for light and tints outside of their ranges.
            period: seconds between actions, a whole number of physics steps of 2 ms.
            unseen_instructions: take the sentences that are kept for testing.
            render_mode: None or rgb_array.
        """
        EzPickle.__init__(
            self,
            task,
            cameras=cameras,
            image_size=image_size,
            obs_type=obs_type,
            look=look,
            period=period,
            unseen_instructions=unseen_instructions,
            render_mode=render_mode,
        )
        found = find_task(task)
        if obs_type not in OBSERVATIONS:
            raise UserError(f"there is no obs_type {obs_type!r}; choose from {', '.join(OBSERVATIONS)}.")
        check_cameras(tuple(cameras))
        self.task = task
        self.cameras = tuple(cameras)
        self.image_size = image_size
        self.obs_type = obs_type
        self.look = look
        self.period = period
        self.render_mode = render_mode
        self.task_description = found.instructions[0]
        self._sentences = found.unseen_instructions if unseen_instructions else found.instructions
        self._max_episode_steps = STEP_LIMITS[task]  # LeRobot reads it
        self._world = World()
        low, high = read_limits().astype(np.float32)
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = self._make_observation_space()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Build the scene of a seed, which decides objects, look and sentence."""
        super().reset(seed=seed)
        self._seed = int(self.np_random.integers(*FREE_SEEDS)) if seed is None else seed
        self.task_description = str(self.np_random.choice(self._sentences))
        self._world.reset(self.task, self._seed, self.look)
        return self._observe(), self._describe()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Lead the arms to the targets; actions beyond the limits are clipped and counted."""
        self._world.step(action, self.period)
        observation = self._observe()
        is_success = bool(self._world.succeeded())
        if is_success:
            self._world.hold(HOLD_SECONDS)  # what follows a success is not observed any more
        return observation, float(is_success), is_success, False, self._describe()

    def render(self) -> np.ndarray | None:
        """What the head camera sees, uint8 (240, 320, 3)."""
        return None if self.render_mode is None else self._world.observe(("head",))["head"]

    def close(self) -> None:
        """Give OpenGL's memory back."""
        self._world.close()

    def _make_observation_space(self) -> spaces.Dict:
        picture = spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        parts: dict[str, spaces.Space] = {}
        if self.obs_type.startswith("pixels"):
            parts["pixels"] = spaces.Dict({camera: picture for camera in self.cameras})
        else:
            parts["environment_state"] = spaces.Box(-np.inf, np.inf, (7 * len(TASKS[self.task].objects),), np.float32)
        if self.obs_type.endswith("agent_pos"):
            parts["agent_pos"] = spaces.Box(self.action_space.low, self.action_space.high, (STATE_SIZE,), np.float32)
        return spaces.Dict(parts)

    def _observe(self) -> dict:
        """Pictures and the command in force, which is what data sets of RoboTwin have for a state."""
        parts: dict[str, Any] = {}
        if "pixels" in self.observation_space.spaces:
            parts["pixels"] = self._world.observe(self.cameras, self.image_size)
        else:
            parts["environment_state"] = self._world.object_poses().ravel().astype(np.float32)
        if "agent_pos" in self.observation_space.spaces:
            target = self._world.state().target.astype(np.float32)
            parts["agent_pos"] = np.clip(target, self.action_space.low, self.action_space.high)
        return parts

    def _describe(self) -> dict[str, Any]:
        result = self._world.succeeded()
        return {
            "is_success": bool(result),
            "is_success_now": result.now,
            "held": result.held,
            "parts": result.parts,
            "seed": self._seed,
            "instruction": self.task_description,
            "clipped": self._world.num_clipped,
            "measured": self._world.state().measured,
        }


def make_env(n_envs: int = 1, use_async_envs: bool = False) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
    """The three tasks, {"robot_tasks": {0: environments, 1: ..., 2: ...}}, as LeRobot's EnvHub asks of an env.py.

    `from simulator.gymnasium_env import make_env` is all that such a file has to say. The environments are bare:
    LeRobot looks for the sentence on the environment, where a wrapper would hide it, and counts the steps itself.

    Args:
        n_envs: of each task.
        use_async_envs: in a process each.
    """
    kind = gymnasium.vector.AsyncVectorEnv if use_async_envs else gymnasium.vector.SyncVectorEnv
    autoreset = gymnasium.vector.AutoresetMode.NEXT_STEP
    made = {
        number: kind([partial(RobotTask, task)] * n_envs, autoreset_mode=autoreset)
        for number, task in enumerate(IDS.values())
    }
    return {"robot_tasks": made}


for _name, _task in IDS.items():
    gymnasium.register(
        f"robot_tasks/{_name}",
        entry_point=RobotTask,
        kwargs={"task": _task},
        max_episode_steps=STEP_LIMITS[_task],
    )
