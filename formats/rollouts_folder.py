"""The rollouts folder: what run_policy.py leaves, and metrics.success reads.

    <folder>/rollouts.jsonl     one Rollout per line, in the order in which the episodes ended
    <folder>/policy.json        what was played: policy, digest of its weights, seeds, settings; a resume wants the same
    <folder>/videos/            films of the first seeds of each task

A line that a kill cut short is left out when the folder is read, and its episode is played again.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from commands.errors import MissingFileError, UserError
from formats.atomic import parse_jsonl, read_file, read_json, write_json

ROLLOUTS, POLICY, VIDEOS = "rollouts.jsonl", "policy.json", "videos"


@dataclass(frozen=True)
class Rollout:
    """One episode that a policy played.

    Attributes:
        task: name of the task.
        seed: of the scene.
        success: the goal was reached at some moment after release, the first of which ended the episode.
        success_at_end: the goal was reached at the last moment, after a second of standing still.
        held: what must last after a success was still true a second later; False without success.
        steps: commands that were executed.
        limit: commands after which an episode is given up.
        parts: greatest share, 0 to 1, that was reached of each part of the goal: grasped, lifted, touched, placed.
        clipped: numbers of commands that lay outside the robot's limits and were clipped.
        seconds: of each call of the policy.
        look: "train" or "unseen": the range that light and tints were drawn from.
        instruction: the sentence that the policy was given.
        failure: what stopped the episode early, such as an answer that is no number; None where nothing did.
    """

    task: str
    seed: int
    success: bool
    success_at_end: bool
    held: bool
    steps: int
    limit: int
    parts: dict[str, float] = field(default_factory=dict)
    clipped: int = 0
    seconds: tuple[float, ...] = ()
    look: str = "train"
    instruction: str = ""
    failure: str | None = None

    @property
    def calls(self) -> int:
        """How often the policy was asked."""
        return len(self.seconds)


def read_rollouts(folder: Path, *, missing_ok: bool = False) -> list[Rollout]:
    """Episodes of a rollouts folder, by task, then seed; with `missing_ok` none where nothing was played yet.

    Raises:
        UserError: if the folder holds none, a line is malformed, or an episode stands there twice.
    """
    path = Path(folder) / ROLLOUTS
    if missing_ok and not path.exists():
        return []
    if not path.is_file():
        raise MissingFileError(f"no rollouts in {folder}: {ROLLOUTS} is missing. Make them with: python run_policy.py")
    content = read_file(path)
    whole = content[: content.rfind(b"\n") + 1]  # what stands after the last line feed was cut short
    rollouts = parse_jsonl(whole, Rollout, path=path, mend="delete the line, and its episode is played again")
    keys = [(rollout.task, rollout.look, rollout.seed) for rollout in rollouts]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"{path}: seed {twice[2]} of {twice[0]} stands there twice; two runs wrote into one folder.")
    return sorted(rollouts, key=lambda rollout: (rollout.task, rollout.look, rollout.seed))


def film_path(folder: Path, rollout: Rollout) -> Path:
    """Where the film of an episode lies, if one was made."""
    outcome = "success" if rollout.success else "failure"
    return Path(folder) / VIDEOS / f"{rollout.task}_{rollout.seed}_{outcome}.mp4"


def append_rollout(folder: Path, rollout: Rollout) -> None:
    """Add one episode; on the disk when this returns. A half-written last line is overwritten."""
    path = Path(folder) / ROLLOUTS
    content = json.dumps(asdict(rollout), ensure_ascii=False) + "\n"
    with open(path, "r+b" if path.exists() else "w+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.seek(whole)
        file.truncate()
        file.write(content.encode())
        file.flush()
        os.fsync(file.fileno())


def begin_rollouts(folder: Path, description: Mapping[str, object]) -> None:
    """Make the folder, or go on with one that the same policy and settings began.

    Args:
        folder: rollouts folder.
        description: the policy and its settings; when an earlier run is continued, every value must be the same.

    Raises:
        UserError: if the folder was begun with something else.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / POLICY
    description = json.loads(json.dumps(description))
    if not path.is_file():
        if (folder / ROLLOUTS).exists():
            raise UserError(f"{folder} holds rollouts and no {POLICY} that says whose; choose another --output.")
        write_json(path, description)
        return
    before = read_json(path, mend="delete it, or choose another --output")
    differing = [key for key in {**before, **description} if before.get(key) != description.get(key)]
    if differing:
        key = differing[0]
        raise UserError(
            f"{folder} was begun with {key} {before.get(key)!r}, now it is {description.get(key)!r}; "
            "choose another --output, or say the same."
        )


def pending(wanted: Iterable[tuple[str, int]], done: Sequence[Rollout]) -> list[tuple[str, int]]:
    """(task, seed) that are still to be played."""
    there = {(rollout.task, rollout.seed) for rollout in done}
    return [episode for episode in wanted if episode not in there]
