"""One rollout: a policy acts in a world until the task is done or time runs out.

class StandStill:
    def reset(self, instruction): pass
    def act(self, observation): return observation.target[None]

record = play(StandStill(), World(), "block_handover", seed=100_000_000)
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from commands.errors import UserError
from simulator.robot import STATE_SIZE
from simulator.tasks import TASKS
from simulator.world import HOLD_SECONDS, World

PERIOD = 0.06  # seconds from command to command: RoboTwin's 15 steps of 1/250 s
STEP_LIMITS = {"block_hammer_beat": 250, "block_handover": 400, "blocks_stack_easy": 550}  # twice what the script takes


@dataclass(frozen=True)
class Observation:
    """What a policy is told at one instant."""

    frames: dict[str, np.ndarray]  # camera => uint8 (S, S, 3) RGB
    target: np.ndarray  # (14,) the command in force, which data sets of RoboTwin have for a state
    measured: np.ndarray  # (14,) joint angles and finger openings
    objects: np.ndarray  # (N, 7) true poses: for baselines that may know them
    instruction: str
    step: int  # commands given so far


class Policy(Protocol):
    """Whoever acts: a network, a script of ten lines, a server somewhere."""

    def reset(self, instruction: str) -> None:
        """A new episode begins."""

    def act(self, observation: Observation) -> np.ndarray:
        """The next targets (K, 14) in radians and metres, K of 1 or more, 0.06 s apart; then it is asked again."""


@dataclass(frozen=True)
class Rollout:
    """How one episode went."""

    task: str
    seed: int
    look: str
    instruction: str
    success: bool  # at some moment: RoboTwin 2.0's rule
    success_at_end: bool
    held: bool  # a second after the first moment it still was
    seconds: float | None  # simulated, to the first moment of success
    steps: int  # commands given
    parts: dict[str, float]
    clipped: int  # commands beyond the limits
    call_seconds: tuple[float, ...]  # wall time of every call of the policy


@dataclass(frozen=True)
class View:
    """What a policy looks at."""

    cameras: tuple[str, ...] = ("head",)
    size: int = 128


def play(
    policy: Policy,
    world: World,
    task: str,
    seed: int,
    *,
    view: View | None = None,
    look: str = "train",
    instruction: str | None = None,
    step_limit: int | None = None,
    watch: Callable[[Observation], None] | None = None,
) -> Rollout:
    """Play one episode; the world is left as it was at the end, a second after a success.

    Args:
        policy: who acts.
        world: used, or not.
        task: one of tasks.TASKS.
        seed: of the scene.
        view: cameras and size of pictures; a view without cameras draws nothing.
        look: "train" or "unseen".
        instruction: the sentence; by default the task's first.
        step_limit: commands that may be given; by default twice what the script takes.
        watch: called with every observation, after the policy has answered it.

    Raises:
        UserError: if the policy answers what is no (K, 14) of finite numbers.
    """
    view = view or View()
    world.reset(task, seed, look)
    sentence = TASKS[task].instructions[0] if instruction is None else instruction
    limit = STEP_LIMITS[task] if step_limit is None else step_limit
    policy.reset(sentence)
    steps, calls = _act(policy, world, view, sentence, limit, watch)
    at_end = world.succeeded()
    if at_end:
        world.hold(HOLD_SECONDS)
    return Rollout(
        task=task,
        seed=seed,
        look=look,
        instruction=sentence,
        success=bool(at_end),
        success_at_end=at_end.now,
        held=bool(world.succeeded().held),
        seconds=at_end.first,
        steps=steps,
        parts=at_end.parts,
        clipped=world.num_clipped,
        call_seconds=tuple(calls),
    )


def _act(
    policy: Policy,
    world: World,
    view: View,
    sentence: str,
    limit: int,
    watch: Callable[[Observation], None] | None,
) -> tuple[int, list[float]]:
    """Commands given, and seconds of every call, until the task is done or the limit is reached."""
    steps, calls = 0, []
    while steps < limit and not world.succeeded():
        observation = observe(world, view, sentence, steps)
        start = time.perf_counter()
        chunk = check_chunk(policy.act(observation))
        calls.append(time.perf_counter() - start)
        if watch is not None:
            watch(observation)
        for targets in chunk[: limit - steps]:
            world.step(targets, PERIOD)
            steps += 1
            if world.succeeded():
                break
    return steps, calls


def observe(world: World, view: View, instruction: str, step: int) -> Observation:
    """The world as a policy is told of it."""
    state = world.state()
    return Observation(
        frames=world.observe(view.cameras, view.size),
        target=state.target,
        measured=state.measured,
        objects=world.object_poses(),
        instruction=instruction,
        step=step,
    )


def check_chunk(answer: object) -> np.ndarray:
    """A policy's answer as (K, 14), or one sentence about what it is."""
    try:
        chunk = np.asarray(answer, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the policy answered {type(answer).__name__} ({error}), wanted (K, {STATE_SIZE}) numbers."
        ) from error
    if chunk.ndim != 2 or chunk.shape[1] != STATE_SIZE or not len(chunk):
        raise UserError(
            f"the policy answered numbers of shape {chunk.shape}, wanted (K, {STATE_SIZE}), K of 1 or more."
        )
    return chunk
