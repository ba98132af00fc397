"""Plans, resuming and failed attempts, with a simulation that costs nothing; one real run in two processes."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools import simulation as generate
from dataset_tools.simulate import LAYOUTS
from dataset_tools.simulation import Job, Settings
from simulator.recorder import Footage, Trajectory
from tests.dataset_tools.layouts import tree

TASK = "blocks_stack_easy"


def make_settings(output: Path, layout: str = "hdf5", save_freq: int = 50) -> Settings:
    return Settings(output, layout, save_freq, ("head",), first_seed=0)


@pytest.fixture
def played(monkeypatch) -> list[int]:
    """Replaces physics and pictures; even seeds fail. The list holds the seeds that were played."""
    seeds: list[int] = []

    def simulate(
        task: str, seed: int, save_freq: int, *, noise: float = 0.0, draw: int = 0, look="train"
    ) -> Trajectory:
        seeds.append(seed)
        joints = np.full((2, 14), float(seed))
        motion = {"states": joints, "executed": joints, "measured": joints, "objects": {}}
        return Trajectory("", seed % 2 == 1, joints[:, :1], **motion, endposes=np.zeros((2, 2, 7)))

    def render(trajectory: Trajectory, cameras: tuple[str, ...], draw_every: int = 1) -> Footage:
        return Footage({"head_camera": np.full((2, 8, 8, 3), int(trajectory.qpos[0, 0]) % 256, np.uint8)}, {})

    monkeypatch.setattr(generate, "simulate", simulate)
    monkeypatch.setattr(generate, "render", render)
    monkeypatch.setattr(generate, "require_renderer", lambda: None)
    return seeds


def test_tasks_take_turns():
    """A run that is stopped early holds every task."""
    assert generate.plan_jobs(("a", "b"), 3, 2) == [Job("a", 3), Job("b", 3), Job("a", 4), Job("b", 4)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_failed_attempt_is_replaced_by_the_next_seed(tmp_path, played, layout):
    """Episode 2 begins at seed 2000, which fails here."""
    settings = make_settings(tmp_path, layout)
    (report,) = generate.generate([Job(TASK, 2)], settings, workers=1)
    assert played == [2000, 2001]
    assert (report.seed, report.failed_attempts, report.num_frames) == (2001, 1, 2)
    entry = json.loads(generate.record_path(settings, TASK).read_text())["episode_2"]
    assert (entry["seed"], entry["save_freq"]) == (2001, 50)


def test_looks_take_turns(tmp_path, played, monkeypatch):
    """By the episode's number, so that an episode stays what it is when others are added; the file tells its look."""
    looks = []
    plain = generate.simulate
    monkeypatch.setattr(generate, "simulate", lambda *a, look, **k: looks.append(look) or plain(*a, **k))
    settings = replace(make_settings(tmp_path), looks=("train", "dark", "bright"))
    for _ in generate.generate([Job(TASK, number) for number in (1, 2, 3)], settings, workers=1):
        pass
    assert looks[::2] == ["dark", "bright", "train"]  # even seeds fail, the next one is tried
    with h5py.File(generate.episode_path(settings, Job(TASK, 2))) as file:
        assert file.attrs["look"] == "bright"
    with pytest.raises(UserError, match="looks"):
        generate.unfinished_jobs([Job(TASK, 1)], make_settings(tmp_path))


def test_where_the_noise_fails_the_scene_is_kept(tmp_path, played, monkeypatch):
    """Otherwise hard scenes would be missing: noise is drawn again, and only a scene that fails clean is given up."""
    attempts = []

    def simulate(
        task: str, seed: int, save_freq: int, *, noise: float = 0.0, draw: int = 0, look="train"
    ) -> Trajectory:
        attempts.append((seed, noise, draw))
        return replace(plain(task, seed, save_freq), success=seed == 2001 and (draw == 2 or not noise))

    plain = generate.simulate
    monkeypatch.setattr(generate, "simulate", simulate)
    settings = replace(make_settings(tmp_path), operator_noise=0.01)
    (report,) = generate.generate([Job(TASK, 2)], settings, workers=1)
    assert attempts == [(2000, 0.01, 0), (2000, 0, 0), (2001, 0.01, 0), (2001, 0, 0), (2001, 0.01, 1), (2001, 0.01, 2)]
    assert (report.seed, report.failed_attempts, report.redrawn) == (2001, 1, 2)
    with h5py.File(generate.episode_path(settings, Job(TASK, 2))) as file:
        assert {"executed", "measured"} <= set(file["simulation"]) and file.attrs["operator_noise"] == 0.01
    with pytest.raises(ValueError, match="'operator_noise': 0.01.*'operator_noise': 0.0"):
        generate.unfinished_jobs([Job(TASK, 2)], make_settings(tmp_path))


def test_an_episode_that_never_succeeds_ends_the_run(tmp_path, played, monkeypatch):
    """With the seeds tried and the mend, not with a loop without end."""
    monkeypatch.setattr(generate, "MOST_ATTEMPTS", 1)
    with pytest.raises(UserError, match="seeds 0 to 0 all failed.*--first-seed"):
        generate.make_episode(Job(TASK, 0), make_settings(tmp_path))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_resumed_run_gives_the_same_bytes_and_repeats_nothing(tmp_path, played, layout):
    """Whether it stopped between episodes, within one, or after writing one but before recording it."""
    jobs = generate.plan_jobs((TASK,), 0, 4)
    whole, parts = make_settings(tmp_path / "whole", layout), make_settings(tmp_path / "parts", layout)
    list(generate.generate(jobs, whole, workers=1))

    stopped = generate.generate(jobs, parts, workers=1)
    next(stopped), next(stopped)
    stopped.close()
    generate.make_episode(jobs[2], parts)  # written, not recorded
    played.clear()
    todo = generate.unfinished_jobs(jobs, parts)
    list(generate.generate(todo, parts, workers=1))
    assert todo == jobs[2:]
    assert played == [2000, 2001, 3000, 3001]
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_a_folder_of_other_settings_or_with_a_foreign_record_is_refused(tmp_path, played):
    """Frames of two rates in one folder would be a silent fault. seed.txt names seeds in the order of episodes."""
    settings = make_settings(tmp_path)
    list(generate.generate([Job(TASK, 10), Job(TASK, 9)], settings, workers=1))
    assert (generate.task_folder(settings, TASK) / "seed.txt").read_text() == "9001 10001\n"
    with pytest.raises(ValueError, match=r"'save_freq': 50.*'save_freq': 15.*choose another --output"):
        generate.unfinished_jobs([Job(TASK, 10)], make_settings(tmp_path, save_freq=15))
    for content in ("{", '{"1": 3}'):
        generate.record_path(settings, TASK).write_text(content)
        with pytest.raises(ValueError, match="scene_info.json .*(delete it|choose another --output)"):
            generate.unfinished_jobs([Job(TASK, 0)], settings)


def test_two_workers_write_what_one_does(tmp_path, can_draw):
    """Real physics and pictures, one frame every two seconds."""
    jobs = generate.plan_jobs(("block_hammer_beat",), 0, 2)
    for workers in (1, 2):
        reports = list(generate.generate(jobs, make_settings(tmp_path / str(workers), save_freq=500), workers))
        assert {report.job for report in reports} == set(jobs)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
