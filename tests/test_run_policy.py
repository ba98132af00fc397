"""Laws of run_policy.py: the expert succeeds again, a run goes on where it was, bad input is one sentence."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import main
import run_policy
from formats.rollouts_folder import ROLLOUTS, read_rollouts
from formats.run_folder import RUN_VARIABLE
from metrics import success
from prediction.policies.kinds import FunctionPolicy, RemotePolicy
from prediction.policies.load import load_run_policy
from prediction.policies.server import make_server
from scripts import publish_policy
from tests.runs import write_noise_episodes

ROOT = Path(__file__).resolve().parents[1]


def run(*argv) -> int:
    return run_policy.main([str(part) for part in argv])


def make_module(monkeypatch, **values) -> None:
    """A module `policies_of_a_test` that holds these policies."""
    module = type(sys)("policies_of_a_test")
    vars(module).update(values)
    monkeypatch.setitem(sys.modules, "policies_of_a_test", module)


def test_the_expert_is_replayed_and_a_second_run_has_nothing_to_play(tmp_path, capsys, monkeypatch):
    command = ("--policy", "replay", "--task", "block_hammer_beat", "--episodes", 1, "--output", tmp_path)
    assert run(*command) == 0
    assert "1 of 1 episodes succeeded" in capsys.readouterr().out
    monkeypatch.setattr(run_policy, "play_episode", lambda *_: pytest.fail("played again"))
    assert run(*command) == 0
    (rollout,) = read_rollouts(tmp_path)
    assert rollout.success and rollout.held and rollout.instruction


def test_a_film_of_the_first_seed(tmp_path, monkeypatch, can_draw):
    make_module(monkeypatch, wave=lambda seen: np.repeat(seen["command"][None], 500, axis=0))
    options = ("--task", "block_hammer_beat", "--episodes", 1, "--videos", 1)
    assert run("--policy", "policies_of_a_test:wave", *options, "--output", tmp_path, "--execute", 250) == 0
    (film,) = (tmp_path / "videos").iterdir()
    assert film.name.endswith("_failure.mp4") and film.stat().st_size > 1000
    sheet = ["--rollouts", str(tmp_path), "--output", str(tmp_path / "tables"), "--films"]
    assert success.main([*sheet, "1"]) == 0 and (tmp_path / "tables" / "films.jpg").stat().st_size > 1000
    film.unlink()
    assert success.main([*sheet, "1"]) == 2, "a film that is not there"


@pytest.mark.parametrize(
    "policy", [ROOT / "bundled_policy", f"joint:{ROOT / 'bundled_joint'}"], ids=["policy", "joint"]
)
def test_the_bundled_policies_hand_the_block_over(policy, tmp_path, can_draw):
    """Weights, cameras, units and the world fit: on a seed that was never trained on."""
    options = ("--policy", policy, "--task", "block_handover", "--episodes", 1)
    assert run(*options, "--output", tmp_path) == 0
    (rollout,) = read_rollouts(tmp_path)
    assert rollout.success and rollout.held


def test_what_fails_keeps_what_was_played(tmp_path, capsys, monkeypatch):
    """A policy that breaks in its third episode: one sentence, the first two stay."""
    asked = []

    def breaks(observation):
        if len(asked) > 1:
            raise RuntimeError("out of ideas")
        asked.append(1)
        return np.repeat(observation["command"][None], 300, axis=0)

    breaks.cameras = ()
    make_module(monkeypatch, breaks=breaks)
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


def test_a_policy_is_loaded_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("simulator.rollout.STEP_LIMITS", {"block_handover": 2})

    class Holds:
        cameras = ()
        act = staticmethod(hold)

        def __init__(self):
            made.append(self)

    make_module(monkeypatch, Holds=Holds)
    options = ("--task", "block_handover", "--episodes", 2, "--output", tmp_path)
    assert run("--policy", "policies_of_a_test:Holds", *options) == 0
    assert len(made) == 1


def test_swapped_sentences_are_those_of_another_task():
    own = run_policy.choose_sentence("train", "blocks_stack_easy", 0)
    assert own == "stack blocks" and run_policy.choose_sentence("swapped", "blocks_stack_easy", 0) != own


def test_a_tiny_policy_trains_resumes_and_is_played(tmp_path, monkeypatch, can_draw):
    """The recipe from motion and pictures to a rollout: two steps, a third after a resume, then a few commands."""
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    folder, logs = write_noise_episodes(tmp_path / "episodes", ("train", "val"), 12), tmp_path / "logs"
    data = [f"data.params.{split}.params.folder={folder}" for split in ("train", "validation")]
    recipe = [str(ROOT / "configs" / name) for name in ("policy.yaml", "tiny/policy.yaml")]
    small = [
        "data.params.batch_size=2",
        "lightning.trainer.limit_val_batches=1",
        "lightning.trainer.val_check_interval=1",
    ]
    assert main.main(["--base", *recipe, *data, *small, "--logdir", str(logs), "--max_steps", "2"]) == 0
    (log,) = logs.iterdir()
    assert main.main(["--resume", str(log), "--max_steps", "3"]) == 0
    assert torch.load(log / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3
    monkeypatch.setattr("simulator.rollout.STEP_LIMITS", {"block_handover": 5})
    output = tmp_path / "rollouts"
    assert run("--policy", log, "--task", "block_handover", "--episodes", 1, "--output", output) == 0
    (rollout,) = read_rollouts(output)
    assert rollout.steps == 5 and rollout.calls == 1 and not rollout.success
    assert publish_policy.main(["--run", str(log), "--output", str(tmp_path / "published")]) == 0
    ours, published = load_run_policy(log), load_run_policy(tmp_path / "published")
    assert str(tmp_path) not in (tmp_path / "published" / "config.yaml").read_text()
    assert published.model.model_ema is None and published.cameras == ours.cameras
    seen = {"pixels": {camera: np.full((240, 320, 3), 90, np.uint8) for camera in ours.cameras}}
    seen |= {"command": np.zeros(14), "agent_pos": np.zeros(14), "instruction": "hand it over"}
    assert np.array_equal(ours.act(seen), published.act(seen)), "the average predicts in both"
    assert publish_policy.main(["--run", str(log), "--output", str(tmp_path / "small"), "--half"]) == 0
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "published")]
    assert sizes[0] < 0.6 * sizes[1]
    np.testing.assert_allclose(load_run_policy(tmp_path / "small").act(seen), ours.act(seen), atol=1e-3)


def hold(observation):
    return observation["command"][None]


def test_a_camera_that_does_not_exist_is_named(tmp_path, capsys, monkeypatch):
    make_module(monkeypatch, wants=type("Wants", (), {"act": staticmethod(hold), "cameras": ("ceiling",)}))
    assert run("--policy", "policies_of_a_test:wants", "--episodes", 1, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "there is no camera 'ceiling'; choose from head" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["hangs", "garbage", "not finite"])
def test_a_server_that_fails_in_the_middle_is_one_sentence_and_nothing_is_lost(tmp_path, capsys, monkeypatch, fault):
    asked, stop = [], threading.Event()

    def act(observation):
        asked.append(1)
        if len(asked) > 1:
            if fault == "hangs":
                stop.wait(10)
            return np.full((1, 14), np.nan) if fault == "not finite" else np.zeros((2, 3))
        return np.repeat(hold(observation), 9, axis=0)

    act.cameras = ()
    monkeypatch.setattr("simulator.rollout.STEP_LIMITS", {"block_handover": 5})
    monkeypatch.setattr(RemotePolicy.__init__, "__defaults__", (0.3,))
    server = make_server(FunctionPolicy(act))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    assert run("--policy", address, "--task", "block_handover", "--episodes", 2, "--output", tmp_path) == 2
    stop.set()
    server.shutdown()
    server.server_close()
    error = capsys.readouterr().err
    says = {"hangs": "did not answer within 0.3 s", "garbage": "shape (2, 3)", "not finite": "not finite"}[fault]
    assert says in error and error.count("\n") == 1
    assert len(read_rollouts(tmp_path)) == 1


def test_a_scene_that_the_expert_cannot_solve_is_named(tmp_path, capsys, monkeypatch):
    failed = SimpleNamespace(success=False, states=np.zeros((1, 14)))
    monkeypatch.setattr("simulator.baselines.simulate", lambda *_, **__: failed)
    assert run("--policy", "replay", "--task", "block_handover", "--episodes", 1, "--output", tmp_path) == 2
    error = capsys.readouterr().err
    assert "the expert cannot solve seed 100000000 of block_handover" in error and error.count("\n") == 1


def test_a_folder_has_one_run_and_a_killed_one_goes_on_to_the_same_rollouts(tmp_path, capsys):
    """kill -9 in the middle of an episode: what was played stays, the rest is played, and all is as uninterrupted."""
    options = ["--policy", "replay", "--task", "block_hammer_beat", "--episodes", "3", "--output"]
    command = [sys.executable, "run_policy.py", *options, str(tmp_path / "killed")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = tmp_path / "killed" / ROLLOUTS
    while process.poll() is None and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)
    assert run(*options, tmp_path / "killed") == 2
    error = capsys.readouterr().err
    assert f"written by another run, process {process.pid}" in error and error.count("\n") == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = lines.read_bytes()
    lines.write_bytes(before + before[:40])  # as if the kill had cut a line short
    assert run(*options, tmp_path / "killed") == 0 and run(*options, tmp_path / "whole") == 0
    assert lines.read_bytes().startswith(before)
    killed, whole = ([{**vars(r), "seconds": ()} for r in read_rollouts(tmp_path / n)] for n in ("killed", "whole"))
    assert killed == whole and len(whole) == 3
