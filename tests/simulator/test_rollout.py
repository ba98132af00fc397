"""Laws of playing: the expert's own targets succeed, standing still does not, a bad answer is one sentence."""

import numpy as np
import pytest

from simulator.baselines import ExpertReplay, StandStill
from simulator.rollout import PERIOD, PolicyError, play


class Answers(StandStill):
    """Answers what it is told to."""

    def __init__(self, answer):
        self.answer = answer

    def act(self, observation):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(observation) if callable(self.answer) else self.answer


def test_the_experts_targets_succeed_again():
    outcome = play(ExpertReplay(), "block_hammer_beat", 100_000_000)
    assert outcome.success and outcome.held and outcome.steps < outcome.limit
    assert outcome.parts["grasped"] == outcome.parts["placed"] == 1.0 and outcome.clipped == 0
    assert len(outcome.seconds) == 1


def test_standing_still_fails_at_the_limit():
    outcome = play(StandStill(), "block_handover", 1, limit=20)
    assert (outcome.success, outcome.held, outcome.steps) == (False, False, 20) and not any(outcome.parts.values())
    assert len(outcome.seconds) == 2, "asked again after each sixteen commands"
    assert len(play(StandStill(), "block_handover", 1, limit=20, execute=5).seconds) == 4, "or after each five"


def test_a_policy_sees_what_it_asked_for():
    seen = []
    policy = Answers(lambda observation: seen.append(observation) or observation["command"][None])
    policy.privileged = True
    play(policy, "blocks_stack_easy", 1, limit=2, instruction="stack them")
    assert seen[0]["pixels"] == {} and seen[0]["instruction"] == "stack them"
    assert seen[0]["object_poses"].shape == (2, 7) and seen[0]["agent_pos"].shape == (14,)
    assert seen[1]["seconds"] == pytest.approx(PERIOD)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.full((4, 14), np.nan), "not finite"),
        (np.zeros(14), r"shape \(14,\); wanted \(K, 14\)"),
        (np.zeros((4, 7)), r"shape \(4, 7\)"),
        (np.zeros((0, 14)), "shape"),
        ("nonsense", "no table of numbers"),
        ([[0.0], [0.0, 1.0]], "no table of numbers"),
        (ZeroDivisionError("by zero"), "raised ZeroDivisionError: by zero"),
    ],
)
def test_a_bad_answer_is_one_sentence(answer, says):
    with pytest.raises(PolicyError, match=says):
        play(Answers(answer), "block_handover", 1, limit=2)


def test_targets_out_of_limits_are_clipped_and_counted():
    assert play(Answers(lambda seen: seen["command"][None] + 9.0), "block_handover", 1, limit=3).clipped == 3
