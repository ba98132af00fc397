"""Prepared episodes: whole runs of a task with cameras, states and actions, for policies.

    <folder>/episodes.jsonl               one PreparedEpisode a line; a folder that has it is whole
    <folder>/statistics.json              scales of states and actions, measured on the training split, with a hash
    <folder>/dataset.json                 sources and options of the preparation
    <folder>/<episode_id>/<camera>.npy    uint8 (P, S, S, 3) RGB, memory-mapped on reading; P is T, or the frames drawn
    <folder>/<episode_id>/motion.npz      float32: those of states, actions, measured, objects, endposes that exist

Prepared pairs (prepared_folder.py) hold two frames and a sentence; here are all frames, so that any window can be cut.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from commands.errors import MissingFileError, UserError
from formats.atomic import check_name, inside, read_json, read_jsonl, write_json, write_jsonl
from formats.positions import name_positions
from formats.prepared_folder import SPLITS

INDEX, STATISTICS, DESCRIPTION, MOTION = "episodes.jsonl", "statistics.json", "dataset.json", "motion.npz"
MEND = "prepare the folder again"
ARM = 7  # numbers of one arm with its gripper, as RoboTwin has them
JOINT_FLOOR, GRIPPER_FLOOR = 0.02, 0.005  # radians, metres: below it a scale would make a joint that rests all noise
Sentences = tuple[Annotated[str, Meta(max_length=10_000)], ...]


@dataclass(frozen=True)
class PreparedEpisode:
    """One line of episodes.jsonl; types and limits are checked on reading."""

    episode_id: str  # "<task>/<number>": the episode's folder
    task: str
    number: Annotated[int, Meta(ge=0)]
    split: Literal["train", "val", "test"]
    length: Annotated[int, Meta(ge=1, le=10**7)]
    cameras: tuple[str, ...]
    instructions: Sentences
    unseen_instructions: Sentences = ()
    frames_per_second: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    objects: tuple[str, ...] = ()  # names of the rows of Motion.objects
    operator_noise: float = 0.0  # radians: executed targets were disturbed, actions are clean
    draw_every: Annotated[int, Meta(ge=1)] = 1  # frames 0, k, 2 k, ... have pictures
    origin: str = ""

    @property
    def num_pictures(self) -> int:
        """P, pictures of each camera."""
        return -(-self.length // self.draw_every)


@dataclass(frozen=True)
class Motion:
    """Numbers of an episode, a row per frame, float32; None where the source has none."""

    states: np.ndarray | None = None  # (T, D) the command in force, or what the robot measured where that is all
    actions: np.ndarray | None = None  # (T, A) what leads from frame t to frame t + 1; the last row is the last but one
    measured: np.ndarray | None = None  # (T, D) joints, where the states are commands
    objects: np.ndarray | None = None  # (T, N, 7) x, y, z, quaternion w, x, y, z; of simulated episodes
    endposes: np.ndarray | None = None  # (T, 2, 7) left and right tool, likewise


@dataclass(frozen=True)
class Statistics:
    """Scales for training, measured on the training split alone; lists of D, A or chunk x A numbers."""

    state_mean: list[float]
    state_std: list[float]  # not below the floors
    state_min: list[float]
    state_max: list[float]
    relative: bool  # actions of a chunk are told relative to the state at its start
    action_mean: list[list[float]]  # step h of a chunk, action
    action_std: list[list[float]]  # not below the floors
    action_min: list[float]  # of the actions themselves
    action_max: list[float]
    episodes: int
    frames: int
    hash: str = ""  # SHA-256 of all the others

    @property
    def chunk(self) -> int:
        """Steps of a chunk that were measured."""
        return len(self.action_mean)

    def digest(self) -> str:
        """SHA-256 of the numbers."""
        text = json.dumps(asdict(replace(self, hash="")), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Window:
    """What a policy sees at frame t, and the actions that follow. Rows past the end repeat the last; not valid."""

    frames: dict[str, np.ndarray]  # camera => uint8 (S, S, 3) at t
    future: dict[str, np.ndarray]  # camera => uint8 (F, S, S, 3)
    future_valid: np.ndarray  # (F,) bool
    seconds: np.ndarray  # (F,) from t; NaN where the rate is unknown
    state: np.ndarray  # (D,) zeros where the episode has none
    state_valid: bool
    measured: np.ndarray  # (D,) the state where nothing was measured apart
    actions: np.ndarray  # (H, A) zeros where the episode has none
    action_valid: np.ndarray  # (H,) bool
    objects: np.ndarray  # (N, 7)
    future_objects: np.ndarray  # (F, N, 7)


def write_episode(
    folder: Path, episode: PreparedEpisode, frames: Mapping[str, Iterable[np.ndarray]], motion: Motion
) -> None:
    """Write an episode's files into `folder`, which is the episode's own.

    Args:
        folder: is made; a draft of the caller's.
        episode: what it is.
        frames: camera => uint8 (S, S, 3) pictures, `num_pictures` of each.
        motion: rows of `length`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for camera in episode.cameras:
        table = None
        for t, frame in enumerate(frames[camera]):
            if table is None:
                shape = (episode.num_pictures, *frame.shape)
                table = np.lib.format.open_memmap(folder / f"{camera}.npy", "w+", np.uint8, shape)
            table[t] = frame
        table.flush()
    rows = {name: value for name, value in vars(motion).items() if value is not None}
    np.savez(folder / MOTION, **{name: np.asarray(value, np.float32) for name, value in rows.items()})


def finish_folder(
    folder: Path, episodes: Sequence[PreparedEpisode], statistics: Statistics | None, description: dict
) -> None:
    """Write dataset.json, statistics.json and, last, episodes.jsonl, for episodes that are already there."""
    write_json(folder / DESCRIPTION, description)
    if statistics is not None:
        write_json(folder / STATISTICS, asdict(replace(statistics, hash=statistics.digest())))
    write_jsonl(folder / INDEX, map(asdict, episodes))


def read_episodes(folder: Path, split: str | None = None) -> list[PreparedEpisode]:
    """Episodes of a folder, in the order of episodes.jsonl; `split` is train, val or test, None takes all.

    Raises:
        MissingFileError: if the folder holds no prepared episodes.
        UserError: if a line is malformed, leaves the folder or is there twice, or the split is empty.
    """
    if split is not None and split not in SPLITS:
        raise UserError(f"split '{split}' is not one of {', '.join(SPLITS)}.")
    if not (Path(folder) / INDEX).is_file():
        raise MissingFileError(
            f"no prepared episodes in {folder}: {INDEX} is missing.\n"
            f"Make them with: python -m dataset_tools.prepare_episodes --episodes <folder> --output {folder}"
        )
    episodes = read_jsonl(Path(folder) / INDEX, PreparedEpisode, mend=MEND)
    seen = set()
    for episode in episodes:
        for camera in episode.cameras:
            check_name(f"{episode.episode_id}/{camera}", f"in {folder}, the camera's file")
        if episode.episode_id in seen:
            raise UserError(f"{folder} has the episode {episode.episode_id} twice; {MEND}.")
        seen.add(episode.episode_id)
    chosen = [episode for episode in episodes if split in (None, episode.split)]
    if not chosen:
        raise UserError(f"{folder} has no episodes in split '{split}' among its {len(episodes)}; prepare more.")
    return chosen


def read_statistics(folder: Path) -> Statistics:
    """Scales of a folder; a file whose numbers do not give its hash is refused."""
    path = Path(folder) / STATISTICS
    if not path.is_file():
        raise MissingFileError(f"{path} is missing: no training episode of {folder} has states and actions; add some.")
    statistics = read_json(path, Statistics, mend=MEND)
    if statistics.hash != statistics.digest():
        raise UserError(f"{path} was changed: its numbers do not give its hash; {MEND}.")
    return statistics


def read_motion(folder: Path, episode: PreparedEpisode) -> Motion:
    """States, actions and poses of an episode.

    Raises:
        UserError: if the file is absent, damaged, or of other lengths than the episode.
    """
    path = inside(folder, episode.episode_id) / MOTION
    try:
        with np.load(path, allow_pickle=False) as file:
            motion = Motion(**{name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not as it should be ({error}); {MEND}.") from error
    for name, table in vars(motion).items():
        if table is not None and (len(table) != episode.length or not np.isfinite(table).all()):
            raise UserError(f"'{name}' in {path} is broken: wanted {episode.length} rows of finite numbers; {MEND}.")
    return motion


def positions_of(episode: PreparedEpisode, motion: Motion) -> dict[str, np.ndarray]:
    """Positions (T, 3) in metres by name, of grippers and objects; empty where neither is known."""
    named = motion.objects is not None and motion.objects.shape[1] == len(episode.objects)
    return name_positions(motion.endposes, {n: motion.objects[:, i] for i, n in enumerate(episode.objects) if named})


def measure_statistics(motions: Iterable[Motion], chunk: int, *, relative: bool) -> Statistics | None:
    """Scales of those motions that have states and actions; None where none has.

    Args:
        motions: of the training split.
        chunk: steps of a chunk of actions.
        relative: express a chunk's actions relative to the state at its start.

    Raises:
        UserError: if the motions differ in size: one folder is for one robot.
    """
    states: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    for motion in motions:
        if motion.states is not None and motion.actions is not None and len(motion.states) > 1:
            states.append(motion.states.astype(np.float64))
            actions.append(motion.actions.astype(np.float64))
    if not states:
        return None
    sizes = {(rows.shape[1], told.shape[1]) for rows, told in zip(states, actions, strict=True)}
    if len(sizes) > 1:
        raise UserError(f"episodes differ in the sizes of state and action {sorted(sizes)}: prepare each robot apart.")
    ((state_size, action_size),) = sizes
    if relative and state_size != action_size:
        raise UserError(
            f"actions of {action_size} numbers are no targets for states of {state_size}: say --actions deltas."
        )
    means, stds = [], []
    for step in range(chunk):
        rows = [
            told[step : len(told) - 1] - (state[: max(len(state) - 1 - step, 0)] if relative else 0)
            for state, told in zip(states, actions, strict=True)
        ]
        table = np.concatenate(rows)
        means.append(table.mean(axis=0) if len(table) else means[-1])
        stds.append(np.maximum(table.std(axis=0), floors(action_size)) if len(table) else stds[-1])
    table, told = np.concatenate(states), np.concatenate([rows[:-1] for rows in actions])
    return Statistics(
        state_mean=table.mean(axis=0).tolist(),
        state_std=np.maximum(table.std(axis=0), floors(state_size)).tolist(),
        state_min=table.min(axis=0).tolist(),
        state_max=table.max(axis=0).tolist(),
        relative=relative,
        action_mean=np.stack(means).tolist(),
        action_std=np.stack(stds).tolist(),
        action_min=told.min(axis=0).tolist(),
        action_max=told.max(axis=0).tolist(),
        episodes=len(states),
        frames=len(table),
    )


def floors(size: int) -> np.ndarray:
    """Least scale of each number: of radians, or, where RoboTwin's arms have their gripper, of metres."""
    values = np.full(size, JOINT_FLOOR)
    if size % ARM == 0:
        values[ARM - 1 :: ARM] = GRIPPER_FLOOR
    return values


class EpisodeFolder:
    """Prepared episodes of one split, opened for cutting windows; frames stay on disk until they are asked for."""

    def __init__(
        self,
        folder: Path,
        split: str | None = None,
        cameras: Sequence[str] | None = None,
        *,
        some_lack_cameras: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.episodes = read_episodes(folder, split)
        shared = [camera for camera in self.episodes[0].cameras if all(camera in e.cameras for e in self.episodes)]
        self.cameras = tuple(shared if cameras is None else cameras)
        for camera in () if some_lack_cameras else self.cameras:
            if camera not in shared:
                raise UserError(
                    f"not all episodes of {folder} have a camera '{camera}'; they share {', '.join(shared)}."
                )
        self._frames: dict[tuple[int, str], np.ndarray] = {}

    def __getstate__(self) -> dict:
        """Open files are dropped when a data loader's process is started."""
        return {**self.__dict__, "_frames": {}}

    @cached_property
    def statistics(self) -> Statistics:
        """Scales of states and actions."""
        return read_statistics(self.folder)

    @cached_property
    def motions(self) -> list[Motion]:
        """Numbers of all episodes: a few megabytes for a thousand."""
        return [read_motion(self.folder, episode) for episode in self.episodes]

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        """Of state and action; none where no training episode has both."""
        if not (self.folder / STATISTICS).is_file():
            return 0, 0
        return len(self.statistics.state_mean), len(self.statistics.action_min)

    def frames(self, index: int, camera: str) -> np.ndarray:
        """Memory-mapped uint8 (P, S, S, 3) of an episode: the picture of frame t is t // draw_every."""
        if (index, camera) not in self._frames:
            episode = self.episodes[index]
            path = inside(self.folder, f"{episode.episode_id}/{camera}.npy")
            try:
                frames = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"{path} is not as it should be ({error}); {MEND}.") from error
            if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != episode.num_pictures:
                raise UserError(
                    f"{path} holds {frames.dtype} {frames.shape}, not {episode.num_pictures} pictures; {MEND}."
                )
            self._frames[index, camera] = frames
        return self._frames[index, camera]

    def window(
        self, index: int, t: int, *, chunk: int, ahead: Sequence[int] = (), cameras: Sequence[str] | None = None
    ) -> Window:
        """What episode `index` shows at frame t in [0, length), the `chunk` actions from there, frames t + `ahead`.

        `cameras` are those that are wanted, None takes all of the folder's. Where not every frame was drawn, the
        picture of a frame is the last that was.
        """
        episode, motion = self.episodes[index], self.motions[index]
        last = episode.length - 1
        later = t + np.asarray(ahead, np.int64)
        steps = t + np.arange(chunk)
        state_size, action_size = self._sizes
        state = np.zeros(state_size, np.float32) if motion.states is None else motion.states[t]
        wanted = self.cameras if cameras is None else cameras
        views = {camera: self.frames(index, camera) for camera in wanted if camera in episode.cameras}
        objects = np.zeros((episode.length, 0, 7), np.float32) if motion.objects is None else motion.objects
        rate = episode.frames_per_second
        return Window(
            frames={camera: np.asarray(view[t // episode.draw_every]) for camera, view in views.items()},
            future={
                camera: np.asarray(view[np.minimum(later, last) // episode.draw_every])
                for camera, view in views.items()
            },
            future_valid=later <= last,
            seconds=np.asarray(ahead, np.float32) / rate if rate else np.full(len(later), np.nan, np.float32),
            state=state,
            state_valid=motion.states is not None,
            measured=state if motion.measured is None else motion.measured[t],
            actions=np.zeros((chunk, action_size), np.float32)
            if motion.actions is None
            else motion.actions[np.minimum(steps, last)],
            action_valid=(steps < last) & (motion.actions is not None),
            objects=objects[t],
            future_objects=objects[np.minimum(later, last)],
        )
