"""A policy is played to its success or its limit, and told what it may know."""

import numpy as np
import pytest

from commands.errors import UserError
from simulator.rollout import Observation, View, check_chunk, play
from simulator.world import World

BLIND = View(cameras=())


class Replay:
    """Gives recorded targets, 16 at a time; after the last one it stands still."""

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = targets

    def reset(self, instruction: str) -> None:
        self.instruction = instruction

    def act(self, observation: Observation) -> np.ndarray:
        assert observation.instruction == self.instruction
        chunk = self.targets[observation.step : observation.step + 16]
        return chunk if len(chunk) else observation.target[None]


def test_the_experts_targets_succeed(commands):
    """In 32 bits, as data sets store them; it ends at the first moment and is held a second later."""
    record = play(Replay(commands.executed[1:].astype(np.float32)), World(), "block_hammer_beat", 0, view=BLIND)
    assert record.success and record.held and record.success_at_end and record.clipped == 0
    assert record.steps < len(commands.executed) and record.seconds <= record.steps * 0.06 + 1e-9
    assert len(record.call_seconds) == -(-record.steps // 16) and record.parts["touched"] == 1.0


def test_standing_still_fails_at_the_limit(can_draw):
    """Parts stay at zero; whoever watches sees what the policy saw."""
    seen: list[Observation] = []
    still = Replay(np.zeros((0, 14)))
    view = View(("head", "right"), 32)
    record = play(still, World(), "block_handover", 4, view=view, step_limit=3, look="unseen", watch=seen.append)
    assert not record.success and not record.held and record.seconds is None and record.steps == 3
    assert not any(record.parts.values()) and (record.look, record.instruction) == ("unseen", "hand over the block")
    assert [observation.step for observation in seen] == [0, 1, 2]
    assert {frame.shape for frame in seen[0].frames.values()} == {(32, 32, 3)}
    assert seen[0].objects.shape == (1, 7) and np.abs(seen[2].measured - seen[2].target).max() < 0.05


@pytest.mark.parametrize("answer", [np.zeros(14), np.zeros((0, 14)), np.zeros((3, 7)), "left", None, [[1], [2, 3]]])
def test_an_answer_that_is_no_chunk_is_one_sentence(answer):
    with pytest.raises(UserError, match=r"the policy answered .* wanted \(K, 14\)"):
        check_chunk(answer)
