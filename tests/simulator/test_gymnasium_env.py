"""The Gymnasium door keeps gymnasium's and LeRobot's rules."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from commands.errors import UserError
from simulator.rollout import STEP_LIMITS
from simulator.world import read_limits

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402

from simulator.gymnasium_env import IDS, RobotTask, make_env  # noqa: E402

STATE = {"obs_type": "environment_state_agent_pos"}
HAMMER = "simulator.gymnasium_env:robot_tasks/BlockHammerBeat-v0"


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_finds_no_fault(name):
    """Spaces, seeds, determinism and return values, by its own checker."""
    env = gymnasium.make(f"robot_tasks/{name}", **STATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that radians are not normalised to [-1, 1]
        check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped._max_episode_steps == STEP_LIMITS[IDS[name]]
    assert env.spec.max_episode_steps == STEP_LIMITS[IDS[name]]


def test_pictures_are_named_by_camera(can_draw):
    """LeRobot's pixels/<camera> and agent_pos; the picture comes at the first reset, not before."""
    env = gymnasium.make(HAMMER, cameras=("head", "left"), image_size=64, render_mode="rgb_array")
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert observation["pixels"].keys() == {"head", "left"} and observation["pixels"]["head"].shape == (64, 64, 3)
    assert env.render().shape == (240, 320, 3)
    assert info["is_success"] is False and info["seed"] == 3 and info["instruction"] == env.unwrapped.task_description
    again, _ = env.reset(seed=3)
    assert np.array_equal(again["pixels"]["head"], observation["pixels"]["head"])
    assert np.array_equal(again["agent_pos"], observation["agent_pos"])
    env.close()


def test_the_expert_succeeds_here_too(commands):
    """Reward 1 and the end of the episode at the first success; a second later it still holds."""
    env = gymnasium.make(HAMMER, **STATE)
    env.reset(seed=0)
    for action in commands.executed[1:].astype(np.float32):
        _, reward, terminated, truncated, info = env.step(action)
        assert reward == float(terminated) == float(info["is_success"]) and not truncated
        if terminated:
            break
    assert terminated and info["held"] and info["clipped"] == 0 and info["parts"]["touched"] == 1.0


def test_environments_run_in_other_processes():
    """Made here, played there; two seeds are two scenes."""
    envs = gymnasium.make_vec(HAMMER, num_envs=2, vectorization_mode="async", **STATE)
    try:
        observation, info = envs.reset(seed=[5, 6])
        assert observation["environment_state"].shape == (2, 14) and info["seed"].tolist() == [5, 6]
        assert not np.array_equal(*observation["environment_state"])
        _, rewards, *_, info = envs.step(observation["agent_pos"])
        assert rewards.tolist() == [0, 0] and info["is_success"].tolist() == [False, False]
    finally:
        envs.close()


def test_an_environment_is_pickled_by_its_arguments():
    """Also after a reset: the copy begins anew."""
    env = RobotTask("block_handover", look="unseen", unseen_instructions=True, **STATE)
    first, info = env.reset(seed=2)
    again = pickle.loads(pickle.dumps(env))
    assert np.array_equal(again.reset(seed=2)[0]["environment_state"], first["environment_state"])
    assert again.look == "unseen" and again.task_description == info["instruction"]


def test_what_cannot_be_is_one_sentence():
    for arguments, message in (
        ({"task": "juggle"}, "no task 'juggle'"),
        ({"task": "block_handover", "cameras": ("top",)}, "no camera 'top'"),
        ({"task": "block_handover", "obs_type": "smell"}, "no obs_type 'smell'"),
    ):
        with pytest.raises(UserError, match=message):
            RobotTask(**arguments)
    env = RobotTask("block_handover", **STATE)
    env.reset(seed=0)
    with pytest.raises(UserError, match="not finite"):
        env.step(np.full(14, np.nan))
    assert np.array_equal(env.action_space.low, read_limits()[0].astype(np.float32))


def test_the_simulator_does_not_need_gymnasium():
    """It is an extra: nothing but its door imports it, and OpenGL stays closed until a picture is wanted."""
    code = (
        "import sys, simulator.recorder, simulator.world, simulator.seeds\n"
        "assert 'gymnasium' not in sys.modules\n"
        "from simulator.gymnasium_env import RobotTask\n"
        "env = RobotTask('block_handover', obs_type='environment_state_agent_pos'); env.reset(seed=0)\n"
        "assert env._world._studio._renderer is None"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=True)


def test_lerobots_hub_finds_every_task():
    """{suite: {number: vectorised environment}}; nothing is drawn before a reset."""
    (suite,) = make_env(n_envs=2).values()
    assert [env.num_envs for env in suite.values()] == [2] * len(IDS)
    assert suite[0].call("task_description")[0] and suite[0].call("_max_episode_steps") == (250, 250)
    for env in suite.values():
        env.close()
