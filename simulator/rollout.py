"""Plays a policy in the world until it succeeds or reaches its limit of commands.

What a policy sees is a dictionary, as Gymnasium environments for robots have it:

    pixels       {camera: uint8 (size, size, 3) RGB}
    agent_pos    (14,) measured joint angles in radians and finger openings in metres: left, then right
    command      (14,) the target in force, the origin of relative actions
    instruction  the sentence
    seconds      since the episode began
    object_poses (objects, 7) x, y, z and quaternion w, x, y, z, by the alphabet of the objects' names, as recorded
                 episodes have them; only for a policy that says `privileged`
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from commands.errors import UserError
from simulator.robot import STATE_SIZE
from simulator.tasks import TASKS
from simulator.world import HOLD_SECONDS, World

PERIOD = 0.06  # seconds a command: 16.7 Hz, RoboTwin's 15 physics steps of 1/250 s
STEP_LIMITS = {name: task.limit for name, task in TASKS.items()}

Observation = Mapping[str, Any]


class Policy(Protocol):
    """What a policy has to offer: these attributes and methods."""

    cameras: tuple[str, ...]  # what it wants to see
    size: int | None  # pixels a side; None: as they are drawn
    privileged: bool  # whether it is also told where the objects are

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Forget the last episode."""

    def act(self, observation: Observation) -> np.ndarray:
        """Targets (K, 14) to execute one after another, radians and metres."""


class PolicyError(UserError):
    """A policy that raised, hung or answered something that no robot can execute."""


@dataclass(frozen=True)
class Outcome:
    """What happened in one episode."""

    success: bool  # at the first moment after release
    success_at_end: bool
    held: bool
    steps: int
    limit: int
    parts: dict[str, float]
    clipped: int
    seconds: tuple[float, ...]  # of each call of the policy
    frames: list[dict[str, np.ndarray]] = field(default_factory=list, repr=False)  # where a film was asked for


def observe(world: World, policy: Policy, instruction: str) -> dict[str, Any]:
    """What the policy sees now."""
    state = world.state()
    seen = {
        "pixels": world.observe(policy.cameras, policy.size) if policy.cameras else {},
        "agent_pos": state.measured,
        "command": state.target,
        "instruction": instruction,
        "seconds": world.seconds,
    }
    by_name = np.argsort(world.task.objects)
    return seen | ({"object_poses": world.object_poses()[by_name]} if policy.privileged else {})


def ask(policy: Policy, observation: Observation) -> np.ndarray:
    """The policy's next targets, (K, 14).

    Raises:
        PolicyError: if it raised, or what it answered is no table of finite numbers of that width.
    """
    try:
        answer = policy.act(observation)
    except UserError:
        raise
    except Exception as error:
        raise PolicyError(f"the policy raised {type(error).__name__}: {error}") from error
    try:
        targets = np.asarray(answer, np.float64)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"the policy answered something that is no table of numbers ({error}).") from error
    if targets.ndim != 2 or targets.shape[1] != STATE_SIZE or not len(targets):
        raise PolicyError(f"the policy answered targets of the shape {targets.shape}; wanted (K, {STATE_SIZE}).")
    if not np.isfinite(targets).all():
        raise PolicyError("the policy answered targets that are not finite numbers.")
    return targets


def play(
    policy: Policy,
    task: str,
    seed: int,
    *,
    look: str = "train",
    instruction: str | None = None,
    limit: int | None = None,
    execute: int | None = None,
    film: Callable[[World, Policy], dict[str, np.ndarray]] | None = None,
) -> Outcome:
    """One episode.

    Args:
        policy: who acts.
        task: name of the task.
        seed: of the scene.
        look: "train" or "unseen".
        instruction: the sentence; None takes the task's first.
        limit: commands after which the episode is given up; None takes twice the expert's.
        execute: commands of each answer that are executed before the policy is asked again; None takes all of them.
        film: draws the pictures of one frame of a film, called at the start and after each command.

    Raises:
        PolicyError: if the policy does not answer with targets.
        UserError: if task, seed, look or a camera does not exist.
    """
    if task not in TASKS:
        raise UserError(f"there is no task {task!r}; choose from {', '.join(TASKS)}.")
    instruction = instruction or TASKS[task].instructions[0]
    limit = limit or STEP_LIMITS[task]
    world = World()
    try:
        world.reset(task, seed, look)
        policy.reset(instruction, task, seed)
        seconds, steps, frames = _act(world, policy, instruction, limit, execute, film)
        world.hold(HOLD_SECONDS)
        if film is not None:
            frames.append(film(world, policy))
        result = world.succeeded()
    finally:
        world.close()
    return Outcome(
        success=bool(result),
        success_at_end=result.now,
        held=bool(result.held),
        steps=steps,
        limit=limit,
        parts=result.parts,
        clipped=world.num_clipped,
        seconds=tuple(seconds),
        frames=frames,
    )


def _act(
    world: World,
    policy: Policy,
    instruction: str,
    limit: int,
    execute: int | None,
    film: Callable[[World, Policy], dict[str, np.ndarray]] | None,
) -> tuple[list[float], int, list[dict[str, np.ndarray]]]:
    """Ask and execute until success or the limit: seconds of each call, commands, pictures of a film."""
    seconds: list[float] = []
    frames: list[dict[str, np.ndarray]] = []
    steps = 0
    while steps < limit and not world.succeeded():
        observation = observe(world, policy, instruction)
        before = time.perf_counter()
        targets = ask(policy, observation)
        seconds.append(time.perf_counter() - before)
        for target in targets[:execute]:
            if film is not None:
                frames.append(film(world, policy))
            world.step(target, PERIOD)
            steps += 1
            if steps >= limit or world.succeeded():
                break
    return seconds, steps, frames
