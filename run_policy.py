"""Plays a policy in the simulator: how often does it succeed?

    python run_policy.py --policy replay --output rollouts/replay --episodes 20
    python run_policy.py --policy logs/<run> --seeds test --episodes 100 --workers 2 --videos 6 --output rollouts/ours
    python run_policy.py --policy mypolicy:act --task block_hammer_beat --output rollouts/mine
    python run_policy.py --policy http://localhost:8700 --output rollouts/theirs

Then: python -m metrics.success --rollouts rollouts/ours rollouts/replay. The same command goes on after a stop.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from commands.errors import UserError
from commands.processes import run_jobs
from commands.run import run_command, show_progress
from formats.rollouts_folder import Rollout, append_rollout, begin_rollouts, film_path, pending, read_rollouts
from formats.run_folder import RunFolder, locked
from simulator.tasks import TASKS

BASELINES = ("replay", "still")
TRUTH_SECONDS = 4.0  # ahead: the bundled model's
APART = ("output", "tasks", "episodes", "future")  # what of a request a folder does not keep; the policy tells `future`
POLICIES = (
    "run folder, joint: or imagine:<run folder> (with frames), module:function, http://host:port, lerobot:<path or id>,"
    " or a baseline: replay (the expert's own commands), still, nearest:<prepared episodes>"
)
FILM_RATE = 1 / 0.06  # frames per second: one a command


@dataclass(frozen=True)
class RolloutRequest:
    """What is to be played, checked.

    Attributes:
        policy: `replay`, `still`, or what prediction.policies.kinds.load_policy takes.
        tasks: names.
        episodes: of each task.
        seeds: "val" or "test", the committed lists that the expert solves.
        look: "train" or "unseen".
        sentences: "train", "unseen", or "swapped": those of another task, to see whether the policy listens.
        execute: commands of each answer that are executed; None takes all.
        videos: films of the first so many seeds of each task.
        output: rollouts folder.
        future: source of the picture that a policy of configs/policy_goal.yaml is shown, see prediction.policies.goals.
    """

    policy: str
    tasks: tuple[str, ...]
    episodes: int
    seeds: str
    look: str
    sentences: str
    execute: int | None
    videos: int
    output: Path
    future: str | None = None

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UserError(f"--episodes {self.episodes}; wanted at least 1.")
        if self.execute is not None and self.execute < 1:
            raise UserError(f"--execute {self.execute}; wanted at least 1.")

    def wanted(self) -> list[tuple[str, int]]:
        """(task, seed) of every episode.

        Raises:
            UserError: if the list of seeds is shorter than --episodes.
        """
        from simulator.seeds import read_seeds

        wanted = []
        for task in self.tasks:
            seeds = read_seeds(task, self.seeds)
            if len(seeds) < self.episodes:
                raise UserError(f"--episodes {self.episodes}: the list {self.seeds} of {task} has {len(seeds)} seeds.")
            wanted += [(task, seed) for seed in seeds[: self.episodes]]
        return wanted


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    usage = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        prog="run_policy.py",
        description=usage[0],
        epilog="examples:\n" + usage[1] + "\n\n" + usage[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--policy", required=True, help=POLICIES)
    add("--task", nargs="+", choices=(*TASKS, "all"), default=["all"])
    add("--episodes", type=int, default=20, help="of each task (default 20)")
    add("--seeds", choices=("val", "test"), default="val", help="val is for choosing, test for the table")
    add("--look", choices=("train", "unseen"), default="train", help="light and tints inside or outside the training's")
    add("--sentences", choices=("train", "unseen", "swapped"), default="train", help="swapped: those of another task")
    add("--execute", type=int, help="commands of each answer that are executed (default: all that the policy gives)")
    add("--workers", type=int, default=1, help="processes")
    add("--videos", type=int, default=0, help="films of the first so many seeds of each task")
    add(
        "--future",
        metavar="SOURCE",
        help="picture of the near future for a policy of configs/policy_goal.yaml: none (default), copy,"
        " predicted[:<checkpoint or run>], truth[:<seconds>]",
    )
    add("--output", type=Path, required=True, help="rollouts folder; an earlier run of the same command goes on")
    return parser


@lru_cache(maxsize=1)
def load(request: RolloutRequest):  # noqa: ANN201 - anything with the methods of simulator.rollout.Policy
    """The policy that --policy names, shown what --future names; loaded once in each process."""
    policy = _load_policy(request.policy)
    if request.future is not None:
        if not hasattr(policy, "show"):
            raise UserError(f"--future: {request.policy} looks at no picture of the future; leave it out.")
        policy.show(_make_goal(request.future, request.look), request.future)
    return policy


def _make_goal(text: str, look: str):  # noqa: ANN202 - a prediction.policies.goals.Goal
    kind, _, rest = text.partition(":")
    if kind == "truth":
        from simulator.baselines import ExpertFuture

        try:
            seconds = float(rest or TRUTH_SECONDS)
        except ValueError as error:
            raise UserError(f"--future {text}: wanted seconds after the colon, such as truth:2.5.") from error
        return ExpertFuture(seconds, look)
    from prediction.policies.goals import make_goal

    return make_goal(text)


def _load_policy(text: str):  # noqa: ANN202
    if text in BASELINES:
        from simulator.baselines import ExpertReplay, StandStill

        return ExpertReplay() if text == "replay" else StandStill()
    from prediction.policies.kinds import load_policy

    return load_policy(text)


def play_episode(request: RolloutRequest, task: str, seed: int) -> Rollout:
    """One episode, with its film where one is wanted; runs in a worker."""
    from simulator.rollout import play

    policy = load(request)
    filmed = seed in _filmed_seeds(request, task)
    instruction = choose_sentence(request.sentences, task, seed)
    film = draw_film_frame if filmed else None
    outcome = play(policy, task, seed, look=request.look, instruction=instruction, execute=request.execute, film=film)
    values = {name: value for name, value in vars(outcome).items() if name != "frames"}
    rollout = Rollout(task=task, seed=seed, look=request.look, instruction=instruction, **values)
    if filmed:
        write_film(film_path(request.output, rollout), outcome.frames)
    return rollout


def choose_sentence(sentences: str, task: str, seed: int) -> str:
    """The sentence of an episode: one of the task's own, or of the next task's where they are swapped."""
    names = list(TASKS)
    whose = TASKS[names[(names.index(task) + 1) % len(names)] if sentences == "swapped" else task]
    choices = whose.unseen_instructions if sentences == "unseen" else whose.instructions
    return choices[seed % len(choices)]


def _filmed_seeds(request: RolloutRequest, task: str) -> list[int]:
    return [seed for name, seed in request.wanted() if name == task][: request.videos]


def draw_film_frame(world, policy):  # noqa: ANN001, ANN201 - dict of camera name to picture
    """What the head camera sees now, and the frame that the policy imagines where it imagines one."""
    imagined = getattr(policy, "imagined", None) or {}
    return {"seen": world.observe(("head",))["head"], **{f"imagined {name}": frame for name, frame in imagined.items()}}


def write_film(path: Path, frames: Sequence[dict]) -> None:
    """An mp4 with the pictures of each instant side by side."""
    import numpy as np
    from PIL import Image

    from formats.video import write_video

    def side_by_side() -> Iterator[np.ndarray]:
        for pictures in frames:
            height = pictures["seen"].shape[0]
            shown = [Image.fromarray(picture).resize((height * 4 // 3, height)) for picture in pictures.values()]
            yield np.concatenate([np.asarray(picture) for picture in shown], axis=1)

    write_video(path, side_by_side(), FILM_RATE)


def play_all(request: RolloutRequest, workers: int) -> tuple[int, int]:
    """Play what is not there yet; returns the number of episodes and of successes in the folder."""
    wanted = request.wanted()
    policy = load(request)  # what is wrong with it is said before the folder is made
    from prediction.policies.kinds import describe
    from simulator.studio import check_cameras

    check_cameras(policy.cameras)
    settings = {key: value for key, value in asdict(request).items() if key not in APART}
    begin_rollouts(request.output, settings | describe(policy, request.policy))
    with locked(RunFolder(request.output)):
        done = read_rollouts(request.output, missing_ok=True)
        todo = pending(wanted, done)
        jobs = [(request, task, seed) for task, seed in todo]
        for rollout in show_progress(run_jobs(play_episode, jobs, workers), "playing", len(jobs)):
            append_rollout(request.output, rollout)
    chosen = [rollout for rollout in read_rollouts(request.output) if (rollout.task, rollout.seed) in set(wanted)]
    return len(chosen), sum(rollout.success for rollout in chosen)


def main(argv: Sequence[str] | None = None) -> int:
    """Play, and say how often it succeeded."""
    options = make_parser().parse_args(argv)

    logging.getLogger("OpenGL").setLevel(logging.WARNING)  # it tells of an accelerator that is of no use here

    def run() -> None:
        tasks = tuple(TASKS) if "all" in options.task else tuple(dict.fromkeys(options.task))
        request = RolloutRequest(
            options.policy,
            tasks,
            options.episodes,
            options.seeds,
            options.look,
            options.sentences,
            options.execute,
            options.videos,
            options.output,
            options.future,
        )
        played, successes = play_all(request, options.workers)
        print(f"{successes} of {played} episodes succeeded.")
        print(f"table: python -m metrics.success --rollouts {options.output}")

    return run_command("run_policy.py", run)


if __name__ == "__main__":
    sys.exit(main())
