"""Laws of the ladder: a policy that is shown the near future reads it, from whichever source, and no other is shown."""

import numpy as np
import pytest

from commands.errors import UserError
from ldm.data.goal_windows import GOAL
from prediction.policies.goals import CopiedGoal, NoGoal, PredictedGoal, make_goal
from prediction.policies.load import RunPolicy
from tests.ldm.models.policy.test_chunk_policy import NETWORKS, D, make_policy, make_statistics, scales

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
SEEN = {
    "pixels": {"head": PICTURE},
    "command": np.zeros(D),
    "agent_pos": np.zeros(D),
    "instruction": "stack blocks",
}


class Shown(NoGoal):
    def picture(self, observation):
        return PICTURE[::-1]


def make_run_policy(monkeypatch, *, goal: bool) -> RunPolicy:
    params = NETWORKS["vision"]["params"]
    cameras = {"head": "head"} | ({GOAL: "head"} if goal else {})
    monkeypatch.setitem(NETWORKS, "goal", NETWORKS["vision"] | {"params": {**params, "cameras": cameras}})
    model = make_policy("goal", cameras={"head": 16, GOAL: 16})
    model.learn_statistics(make_statistics(), scales())
    return RunPolicy(model.eval(), "digest")


def test_each_source_is_read_and_named_in_the_rollouts(monkeypatch):
    policy = make_run_policy(monkeypatch, goal=True)
    assert policy.cameras == ("head",) and policy.settings()["future"] == "none"
    answers = [policy.act(SEEN)]
    for name, goal in (("copy", make_goal("copy")), ("truth", Shown())):
        policy.show(goal, name)
        policy.reset("stack blocks", "blocks_stack_easy", 0)
        answers.append(policy.act(SEEN))
        assert policy.settings()["future"] == name
    assert not np.allclose(answers[0], answers[1]) and not np.allclose(answers[1], answers[2])
    assert isinstance(make_goal("none"), NoGoal) and isinstance(make_goal("copy"), CopiedGoal)


def test_the_bundled_model_predicts_a_goal_from_the_head_camera():
    seen = SEEN | {"pixels": {"head": np.full((240, 320, 3), 120, np.uint8)}}
    goal = make_goal("predicted")
    assert isinstance(goal, PredictedGoal) and goal.picture(seen).shape == (128, 128, 3)


def test_a_policy_without_eyes_for_it_and_an_unknown_source_are_refused(monkeypatch):
    policy = make_run_policy(monkeypatch, goal=False)
    assert "future" not in policy.settings()
    with pytest.raises(UserError, match="looks at no picture of the future"):
        policy.show(CopiedGoal(), "copy")
    with pytest.raises(UserError, match="wanted none, copy, predicted"):
        make_goal("guess")
