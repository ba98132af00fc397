"""Plans episodes and simulates them in several processes; can be stopped and resumed.

Episode i of a task tries the seeds first_seed + 1000 i, + 1, + 2, ... until the expert succeeds in one. So an episode
depends on its number alone, not on the number of workers or on interruptions. Where only the operator's noise makes the
attempt fail, the scene is kept and the noise drawn again; otherwise hard scenes would be missing.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from commands.errors import UserError
from commands.processes import run_jobs
from dataset_tools.writers.robotwin import write_hdf5_episode, write_instructions, write_pkl_episode
from formats.atomic import read_json, write_json, write_text
from simulator.engine import require_renderer
from simulator.recorder import Footage, Trajectory, render, simulate
from simulator.tasks import TASKS

SEEDS_PER_EPISODE = 1000
MOST_ATTEMPTS = 50  # measured: one attempt nearly always does, so fifty failures mean that something is broken
LARGEST_FIRST_SEED = SEEDS_PER_EPISODE - MOST_ATTEMPTS  # beyond, episode i would try the seeds of episode i + 1
LARGEST_EPISODE = 99_999  # seeds from 100,000,000 on belong to the tests of policies: see simulator/seeds.py
MOST_DRAWS = 20  # of the operator's noise in one scene; measured: one or two do at 10 mrad
LARGEST_NOISE = 0.05  # radians; of 40 hammer episodes none in two is left at 0.03
LARGEST_SAVE_FREQ = 500  # 2 seconds between frames
OLDER = {"operator_noise": 0.0, "draw_every": 1, "looks": ["train"]}  # settings of records that do not tell them
RecordName = Annotated[str, Meta(pattern=r"^episode_\d+$")]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What all episodes of a folder share."""

    output: Path
    layout: str
    save_freq: int  # steps of 1/250 s per saved frame
    cameras: tuple[str, ...]  # none: motion alone
    first_seed: int
    operator_noise: float = 0.0  # radians, standard deviation of every joint's executed target
    draw_every: int = 1  # frames between repeat the last picture
    looks: tuple[str, ...] = ("train",)  # of simulator.scene.LOOKS; episode i has number i modulo their count

    def look_of(self, episode: int) -> str:
        """Light and tints of an episode."""
        return self.looks[episode % len(self.looks)]


@dataclass(frozen=True)
class Job:
    """One episode to make."""

    task: str
    episode: int


@dataclass(frozen=True)
class EpisodeReport:
    """One episode made."""

    job: Job
    seed: int
    num_frames: int
    failed_attempts: int  # scenes that the expert could not solve
    redrawn: int  # times that the operator's noise had to be drawn again in the scene that was taken
    seconds: float


def plan_jobs(tasks: Sequence[str], first_episode: int, num_episodes: int) -> list[Job]:
    """All episodes, task by task in turn, so that an interrupted run holds every task."""
    return [Job(task, episode) for episode in range(first_episode, first_episode + num_episodes) for task in tasks]


def unfinished_jobs(jobs: Sequence[Job], settings: Settings) -> list[Job]:
    """Those jobs whose episode is not in the output folder yet; refuses a folder made with other settings."""
    tasks = {job.task for job in jobs}
    records = {task: _read_records(record_path(settings, task)) for task in tasks}
    wanted = _shared_settings(settings)
    for task, entries in records.items():
        for name, entry in entries.items():
            found = {key: entry.get(key, OLDER.get(key)) for key in wanted}
            if found != wanted:
                raise UserError(
                    f"{record_path(settings, task)} holds {name} made with {found}, but {wanted} was asked for:"
                    " choose another --output, or the same settings"
                )
    return [
        job
        for job in jobs
        if _record_name(job.episode) not in records[job.task] or not episode_path(settings, job).exists()
    ]


def generate(jobs: Sequence[Job], settings: Settings, workers: int) -> Iterator[EpisodeReport]:
    """Make the episodes and yield each as it is finished and recorded; order depends on the workers, content does not.

    Raises:
        RendererUnavailable: before any physics, where no OpenGL can draw.
    """
    if not jobs:
        return
    if settings.cameras:
        require_renderer()
    for report in run_jobs(make_episode, [(job, settings) for job in jobs], workers):
        record_episode(report, settings)
        yield report


def make_episode(job: Job, settings: Settings) -> EpisodeReport:
    """Try seeds until one succeeds, draw it, write it."""
    start = time.monotonic()
    first = settings.first_seed + SEEDS_PER_EPISODE * job.episode
    for attempt in range(MOST_ATTEMPTS):
        seed = first + attempt
        trajectory, redrawn = _play(job, seed, settings)
        if trajectory.success:
            break
        log.debug("%s episode %d: seed %d failed", job.task, job.episode, seed)
    else:
        raise UserError(
            f"{job.task} episode {job.episode}: seeds {first} to {first + MOST_ATTEMPTS - 1} all failed, one success"
            " was wanted; choose another --first-seed, or less --operator-noise"
        )

    footage = render(trajectory, settings.cameras, settings.draw_every) if settings.cameras else Footage({}, {})
    path = episode_path(settings, job)
    motion = {"endposes": trajectory.endposes, "views": footage.views}
    if settings.layout == "pkl":
        write_pkl_episode(path, footage.frames, trajectory.states, **motion)
    else:
        task = TASKS[job.task]
        sentences = path.parent.parent / "instructions" / f"{path.stem}.json"
        write_instructions(sentences, list(task.instructions), list(task.unseen_instructions))
        attributes = {"save_freq": settings.save_freq, "task": job.task, "seed": seed, "source": "simulator"}
        attributes |= {"operator_noise": settings.operator_noise, "draw_every": settings.draw_every}
        attributes |= {"look": settings.look_of(job.episode)} if settings.looks != ("train",) else {}
        write_hdf5_episode(
            path, footage.frames, trajectory.states, **motion, attributes=attributes, simulation=trajectory
        )
    return EpisodeReport(job, seed, len(trajectory.qpos), attempt, redrawn, time.monotonic() - start)


def _play(job: Job, seed: int, settings: Settings) -> tuple[Trajectory, int]:
    """A success in the scene of a seed, or a failure where the expert cannot solve it; and how often noise failed."""
    for draw in range(MOST_DRAWS if settings.operator_noise else 1):
        trajectory = simulate(
            job.task,
            seed,
            settings.save_freq,
            noise=settings.operator_noise,
            draw=draw,
            look=settings.look_of(job.episode),
        )
        if trajectory.success:
            return trajectory, draw
        if draw == 0 and settings.operator_noise and not simulate(job.task, seed, settings.save_freq).success:
            break
    return trajectory, draw


def record_episode(report: EpisodeReport, settings: Settings) -> None:
    """Add a finished episode to scene_info.json and, for hdf5, seed.txt. Only one process may do so."""
    path = record_path(settings, report.job.task)
    records = _read_records(path)
    records[_record_name(report.job.episode)] = {
        "seed": report.seed,
        "frames": report.num_frames,
        "failed_attempts": report.failed_attempts,
        "redrawn": report.redrawn,
        **_shared_settings(settings),
    }
    records = dict(sorted(records.items(), key=lambda item: int(item[0].removeprefix("episode_"))))
    write_json(path, records)
    if settings.layout == "hdf5":
        write_text(path.with_name("seed.txt"), " ".join(str(entry["seed"]) for entry in records.values()) + "\n")


def task_folder(settings: Settings, task: str) -> Path:
    """Where RoboTwin keeps a task: `<task>/demo_clean` in 2.0, `<task>_D435_pkl` in 1.0."""
    if settings.layout == "pkl":
        return settings.output / f"{task}_D435_pkl"
    return settings.output / task / "demo_clean"


def episode_path(settings: Settings, job: Job) -> Path:
    """The episode's folder (pkl) or file (hdf5)."""
    folder = task_folder(settings, job.task)
    if settings.layout == "pkl":
        return folder / f"episode{job.episode}"
    return folder / "data" / f"episode{job.episode}.hdf5"


def record_path(settings: Settings, task: str) -> Path:
    """The file that lists a task's finished episodes."""
    return task_folder(settings, task) / "scene_info.json"


def _shared_settings(settings: Settings) -> dict[str, object]:
    return {
        "save_freq": settings.save_freq,
        "cameras": list(settings.cameras),
        "first_seed": settings.first_seed,
        "source": "simulator",
        "operator_noise": settings.operator_noise,
        "draw_every": settings.draw_every,
        "looks": list(settings.looks),
    }


def _record_name(episode: int) -> str:
    return f"episode_{episode}"


def _read_records(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    return read_json(path, dict[RecordName, dict], mend="delete it, and its episodes are made again")
