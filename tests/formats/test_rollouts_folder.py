"""Laws of the rollouts folder: what is appended is read, a cut line is played again, another policy is refused."""

import pytest

from commands.errors import UserError
from formats.rollouts_folder import POLICY, ROLLOUTS, Rollout, append_rollout, begin_rollouts, pending, read_rollouts


def make_rollout(seed: int, success: bool = True, task: str = "push", **more) -> Rollout:
    return Rollout(task, seed, success, success, success, steps=10, limit=20, **more)


def test_what_is_appended_is_read_by_task_then_seed(tmp_path):
    rollouts = [make_rollout(2), make_rollout(1, parts={"grasped": 1.0}, seconds=(0.5,), instruction="a\u2028b")]
    for rollout in rollouts:
        append_rollout(tmp_path, rollout)
    assert read_rollouts(tmp_path) == [rollouts[1], rollouts[0]]
    assert rollouts[1].calls == 1


def test_a_line_that_a_kill_cut_short_is_overwritten(tmp_path):
    append_rollout(tmp_path, make_rollout(1))
    with open(tmp_path / ROLLOUTS, "ab") as file:
        file.write(b'{"task": "push", "se')
    assert [rollout.seed for rollout in read_rollouts(tmp_path)] == [1]
    append_rollout(tmp_path, make_rollout(2))
    done = read_rollouts(tmp_path)
    assert pending([("push", 1), ("push", 2), ("push", 3)], done) == [("push", 3)]


@pytest.mark.parametrize("line", ["[]", '{"task": 3}', '{"task": "push", "seed": "one"}', "\u0000"])
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / ROLLOUTS).write_text(line + "\n")
    with pytest.raises(UserError, match="line 1, is not as it should be"):
        read_rollouts(tmp_path)


def test_a_folder_goes_on_with_the_same_policy_only(tmp_path):
    begin_rollouts(tmp_path / "out", {"policy": "a", "execute": 16})
    begin_rollouts(tmp_path / "out", {"policy": "a", "execute": 16})
    with pytest.raises(UserError, match="was begun with execute 16, now it is 8"):
        begin_rollouts(tmp_path / "out", {"policy": "a", "execute": 8})
    (tmp_path / "out" / POLICY).write_text("{")
    with pytest.raises(UserError, match="is not as it should be"):
        begin_rollouts(tmp_path / "out", {"policy": "a", "execute": 16})


def test_no_rollouts_and_one_that_stands_twice_are_refused(tmp_path):
    with pytest.raises(UserError, match="python run_policy.py"):
        read_rollouts(tmp_path)
    for _ in range(2):
        append_rollout(tmp_path, make_rollout(1))
    with pytest.raises(UserError, match="seed 1 of push stands there twice"):
        read_rollouts(tmp_path)
