"""Laws of run_policy.py: the expert succeeds again, a run goes on where it was, bad input is one sentence."""

import sys

import numpy as np
import pytest

import run_policy
from formats.rollouts_folder import ROLLOUTS, read_rollouts


def run(*argv) -> int:
    return run_policy.main([str(part) for part in argv])


def test_the_expert_is_replayed_and_a_second_run_has_nothing_to_play(tmp_path, capsys, monkeypatch):
    command = ("--policy", "replay", "--task", "block_hammer_beat", "--episodes", 1, "--output", tmp_path)
    assert run(*command) == 0
    assert "1 of 1 episodes succeeded" in capsys.readouterr().out
    monkeypatch.setattr(run_policy, "play_episode", lambda *_: pytest.fail("played again"))
    assert run(*command) == 0
    (rollout,) = read_rollouts(tmp_path)
    assert rollout.success and rollout.held and rollout.instruction


def test_a_film_of_the_first_seed(tmp_path, can_draw):
    sys.modules["policies_of_a_test"] = type(sys)("policies_of_a_test")
    sys.modules["policies_of_a_test"].wave = lambda seen: np.repeat(seen["command"][None], 500, axis=0)
    options = ("--task", "block_hammer_beat", "--episodes", 1, "--videos", 1)
    assert run("--policy", "policies_of_a_test:wave", *options, "--output", tmp_path, "--execute", 250) == 0
    (film,) = (tmp_path / "videos").iterdir()
    assert film.name.endswith("_failure.mp4") and film.stat().st_size > 1000


def test_what_fails_keeps_what_was_played(tmp_path, capsys, monkeypatch):
    """A policy that breaks in its second episode: one sentence, the first episode stays."""
    seeds = []

    def breaks(observation):
        if len(seeds) > 1:
            raise RuntimeError("out of ideas")
        seeds.append(1)
        return np.repeat(observation["command"][None], 300, axis=0)

    breaks.cameras = ()
    sys.modules["policies_of_a_test"] = type(sys)("policies_of_a_test")
    sys.modules["policies_of_a_test"].breaks = breaks
    monkeypatch.setattr("simulator.rollout.STEP_LIMITS", {"block_handover": 5})
    options = ("--task", "block_handover", "--episodes", 3, "--output", tmp_path)
    assert run("--policy", "policies_of_a_test:breaks", *options) == 2
    error = capsys.readouterr().err
    assert "the policy raised RuntimeError: out of ideas" in error and error.count("\n") == 1
    assert len(read_rollouts(tmp_path)) == 2


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--policy", "logs/absent"), "wanted a run folder"),
        (("--policy", "still", "--episodes", 21), "has 20 seeds"),
        (("--policy", "still", "--episodes", 0), "wanted at least 1"),
        (("--policy", "still", "--execute", 0), "wanted at least 1"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(tmp_path, capsys, argv, says):
    assert run(*argv, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_two_runs_do_not_share_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("simulator.rollout.STEP_LIMITS", {"block_handover": 2})
    command = ("--policy", "still", "--task", "block_handover", "--episodes", 1, "--output", tmp_path)
    assert run(*command) == 0
    assert run(*command, "--look", "unseen") == 2
    assert "was begun with look 'train', now it is 'unseen'" in capsys.readouterr().err
    (tmp_path / ROLLOUTS).unlink()


def test_swapped_sentences_are_those_of_another_task():
    own = run_policy.choose_sentence("train", "blocks_stack_easy", 0)
    assert own == "stack blocks" and run_policy.choose_sentence("swapped", "blocks_stack_easy", 0) != own
