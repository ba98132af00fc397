"""Episodes => prepared episodes (formats/prepared_episodes.py): group cameras, convert each, measure the scales.

An episode's own file is written last, so that one that has it is whole; nothing else is needed to go on after a kill,
or to add episodes to a folder.
"""

import argparse
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from commands.errors import UserError
from commands.processes import run_jobs
from commands.run import show_progress
from dataset_tools.episode import Episode, Joints, Recording, group_views
from dataset_tools.preparing.convert import stamp_sources
from dataset_tools.preparing.instructions import words_of_task
from dataset_tools.preparing.splits import SplitRule, add_split_arguments, read_split_rule, split_of_episode
from dataset_tools.readers.arguments import add_reading_arguments, reading_request
from dataset_tools.readers.detect import read_episodes
from dataset_tools.readers.naming import name_episodes
from formats.atomic import check_name, read_json, write_json
from formats.hashing import stable_number
from formats.pictures import resize_square
from formats.prepared_episodes import (
    DESCRIPTION,
    Motion,
    PreparedEpisode,
    finish_folder,
    measure_statistics,
    read_motion,
    write_episode,
)
from formats.tasks import sentence_of

DONE = "episode.json"  # written last: an episode's folder that has it is whole
ACTION_KINDS = ("targets", "deltas")
MOST_LISTED = 20  # tasks whose episodes are counted apart: where each sentence is a task, they are thousands

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpisodeOptions:
    """Everything besides the recording that determines an episode's bytes."""

    sizes: dict[str, int]  # camera => side of its square pictures
    val: float = 0.1
    test: float = 0.1
    holdout: tuple[int, ...] = ()
    instruction: str | None = None
    actions: str = "targets"
    chunk: int = 32

    def __post_init__(self) -> None:
        for camera, size in self.sizes.items():
            if not 8 <= size <= 4096:
                raise UserError(f"--size {size} of {camera} is no side of a picture; give 8 to 4096 pixels.")
        if not 1 <= self.chunk <= 1000:
            raise UserError(f"--chunk {self.chunk} is no number of steps; give 1 to 1000.")

    @property
    def split(self) -> SplitRule:
        """The rule by which prepared pairs are split, too."""
        return SplitRule(self.val, self.test, frozenset(self.holdout))


def prepare_command(argv: Sequence[str] | None) -> None:
    """The command's body: arguments, then `prepare_episodes`."""
    args = make_parser().parse_args(argv)
    recordings = rename_cameras(name_recordings(read_episodes(reading_request(args))), args.named)
    options = make_options(args, recordings)
    prepare_episodes(choose(recordings, args.max_episodes), args.output, options, args.workers)


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_tools.prepare_episodes", description="Robot episodes => prepared episodes."
    )
    add_reading_arguments(parser)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder to write, or to add to")
    add("--named", nargs="+", metavar="NAME", help="what to call the cameras, so that several robots' are alike")
    add("--size", type=int, nargs="+", default=[128], metavar="S", help="side in pixels: one, or one a camera")
    add_split_arguments(add)
    add("--instruction", help="one sentence for all episodes (default: their own)")
    add("--actions", choices=ACTION_KINDS, default="targets", help="what the actions are (default: targets)")
    add("--chunk", type=int, default=32, help="steps of a chunk whose scales are measured (default: 32)")
    add("--max-episodes", type=int, metavar="N", help="so many of all that are there; a larger N adds to them")
    add("--workers", type=int, default=1, help="processes; the result is the same")
    return parser


def choose(recordings: Sequence[Recording], most: int | None) -> list[Recording]:
    """At most so many of the recordings, in their order; those of a smaller number are among those of a larger."""
    if most is not None and most < 1:
        raise UserError(f"--max-episodes {most} prepares nothing; give 1 or more.")
    chosen = sorted(recordings, key=lambda recording: stable_number("choose", recording.name))[:most]
    names = {recording.name for recording in chosen}
    return [recording for recording in recordings if recording.name in names]


def make_options(args: argparse.Namespace, recordings: Sequence[Recording]) -> EpisodeOptions:
    """Options from the command's arguments; cameras are those of the first recording."""
    cameras = tuple(camera for camera in recordings[0].views if camera)  # none of an episode that is motion alone
    sizes = args.size * len(cameras) if len(args.size) == 1 else args.size
    if len(sizes) != len(cameras):
        raise UserError(f"{len(sizes)} numbers of --size for {len(cameras)} cameras ({', '.join(cameras)}); give each.")
    split = read_split_rule(args)
    return EpisodeOptions(
        dict(zip(cameras, sizes, strict=True)),
        split.val,
        split.test,
        tuple(sorted(split.holdout)),
        args.instruction,
        args.actions,
        args.chunk,
    )


def name_recordings(episodes: Sequence[Episode]) -> list[Recording]:
    """One recording with a unique name for each run, in order; a run may have several cameras."""
    recordings = group_views(episodes)
    names = name_episodes([recording.main for recording in recordings])
    return [replace(recording, name=name) for recording, name in zip(recordings, names, strict=True)]


def rename_cameras(recordings: Sequence[Recording], names: Sequence[str] | None) -> list[Recording]:
    """The same recordings with other names for their cameras, in order; None keeps their own."""
    if names is None:
        return list(recordings)
    renamed = []
    for recording in recordings:
        if len(names) != len(recording.views) or len(set(names)) < len(names):
            raise UserError(
                f"--named {' '.join(names)} for {len(recording.views)} cameras ({', '.join(recording.views)}); give "
                "each a name of its own."
            )
        views = dict(zip(map(check_name, names), recording.views.values(), strict=True))
        renamed.append(replace(recording, views=views))
    return renamed


def prepare_episodes(recordings: Sequence[Recording], folder: Path, options: EpisodeOptions, workers: int = 1) -> None:
    """Convert what is new, then write scales and index over all that the folder holds of these recordings."""
    description = {"version": 1, "options": asdict(options)}
    relative = options.actions == "targets"
    # States and actions that the scales cannot be measured on are refused now, not after hours.
    measure_statistics([make_motion(recordings[0].main.joints)], 1, relative=relative)
    _open(folder, description)
    stamps = {source: stamp_sources([source]) for source in {recording.main.source for recording in recordings}}
    jobs = [(each, folder, options, stamps[each.main.source] + each.renamed) for each in recordings]
    for _ in show_progress(run_jobs(prepare_episode, jobs, workers), "episodes", len(jobs)):
        pass
    episodes = [read_json(folder / recording.name / DONE, _Done).episode for recording in recordings]
    training = (read_motion(folder, episode) for episode in episodes if episode.split == "train")
    statistics = measure_statistics(training, options.chunk, relative=relative)
    finish_folder(folder, episodes, statistics, description)
    tasks = {episode.task for episode in episodes}
    together = f"{len(tasks)} tasks" if len(tasks) > MOST_LISTED else None
    counts = Counter((together or episode.task, episode.split) for episode in episodes)
    for (task, split), count in sorted(counts.items()):
        log.info("%s, %s: %d episodes", task, split, count)
    log.info("scales of training: %s", statistics.digest() if statistics else "none, no states and actions to train on")


@dataclass(frozen=True)
class _Done:
    """Content of an episode's own file: what it is, and which recording and options it was made from."""

    episode: PreparedEpisode
    source: str


def _open(folder: Path, description: dict) -> None:
    """Begin a folder, or go on with one of the same options."""
    path = folder / DESCRIPTION
    if path.is_file():
        found = read_json(path)
        if found != json.loads(json.dumps(description)):
            raise UserError(f"{folder} was prepared with {found}, not with {description}: choose another --output.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no prepared episodes: choose another --output.")
    write_json(path, description)


def prepare_episode(recording: Recording, folder: Path, options: EpisodeOptions, source: str) -> str:
    """Write one episode, unless it is there and its recording has the same stamp `source`; returns its name."""
    place = folder / recording.name
    if (place / DONE).is_file() and read_json(place / DONE, _Done).source == source:
        return recording.name
    missing = options.sizes.keys() - recording.views.keys()
    if missing:
        raise UserError(
            f"{recording.main.source} has no camera {', '.join(sorted(missing))}; choose others by --camera."
        )
    draft = place.with_name(place.name + ".partial")
    for old in (draft, place):
        shutil.rmtree(old, ignore_errors=True)
    episode = describe_episode(recording, options)
    drawn = range(0, episode.length, episode.draw_every)
    frames = {camera: _shrunk(recording.views[camera], size, drawn) for camera, size in options.sizes.items()}
    rows = vars(make_motion(recording.main.joints)).items()
    motion = Motion(**{name: None if table is None else table[: episode.length] for name, table in rows})
    write_episode(draft, episode, frames, motion)
    write_json(draft / DONE, asdict(_Done(episode, source)))
    draft.rename(place)
    return recording.name


def _shrunk(view: Episode, size: int, moments: Sequence[int]) -> Iterator[np.ndarray]:
    return (resize_square(view.read_frame(t), size) for t in moments)


def describe_episode(recording: Recording, options: EpisodeOptions) -> PreparedEpisode:
    """The line of an episode."""
    episode = recording.main
    own = episode.instructions or (sentence_of(episode.task) or words_of_task(episode.task),)
    return PreparedEpisode(
        episode_id=recording.name,
        task=episode.task,
        number=episode.number,
        split=split_of_episode(options.split, episode.task, episode.number),
        length=min(view.length for view in recording.views.values()),
        cameras=tuple(options.sizes),
        instructions=own if options.instruction is None else (options.instruction,),
        unseen_instructions=tuple(episode.notes.get("unseen", ())),
        frames_per_second=episode.frames_per_second,
        objects=tuple(episode.joints.objects),
        operator_noise=float(episode.notes.get("operator_noise", 0.0)),
        draw_every=int(episode.notes.get("draw_every", 1)),
        origin=episode.source.name,
    )


def make_motion(joints: Joints) -> Motion:
    """Rows of an episode, each action being what leads from its frame to the next.

    RoboTwin stores the target in force at a frame, so that the action is the next row; so does a data set made from
    RoboTwin, where states and actions are the same numbers. RoboTwin 1.0 stores zeros in frame 0, before the first
    target is given: the robot then stands where frame 1 has it.
    """
    states, actions = joints.states, joints.actions
    in_force = joints.in_force or (states is not None and np.array_equal(states, actions))
    if in_force and states is not None and len(states) > 1 and not states[0].any():
        states = np.concatenate([states[1:2], states[1:]])
    if in_force and actions is not None:
        actions = np.concatenate([actions[1:], actions[-1:]])
    objects = np.stack(list(joints.objects.values()), axis=1) if joints.objects else None
    return Motion(states, actions, joints.measured, objects, joints.endposes)
