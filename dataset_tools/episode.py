"""Episode: what every reader returns and everything above reads.

Frames are lazy: a reader hands over the length and a function from frame number to picture, so that listing a
thousand episodes costs no decoding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from commands.errors import UserError
from formats.atomic import check_name

PHYSICS_RATE = 250  # Hz; RoboTwin saves a frame every `save_freq` steps of it
LONGEST_EPISODE = 10_000_000  # frames: 46 hours at 60 a second; a file that declares more is damaged
LARGEST_NUMBER = 2**62  # of an episode: data sets store it in 64 bits


@dataclass(frozen=True)
class Joints:
    """Measured states and commanded actions, a row per frame; None where the source has none.

    Columns without names are joints of the arm (and its gripper).
    """

    states: np.ndarray | None = None  # float64 (length, D)
    actions: np.ndarray | None = None  # float64 (length, D'); in RoboTwin the drive targets, equal to the states
    angles: np.ndarray | None = None  # float64 (length, D''): joint angles, where the states are something else
    state_names: tuple[str, ...] | None = None  # one a column
    action_names: tuple[str, ...] | None = None
    in_force: bool = False  # an action is in force at its frame (RoboTwin), not what leads to the next
    measured: np.ndarray | None = None  # float64 (length, D): joints, where the states are commands
    objects: Mapping[str, np.ndarray] = field(default_factory=dict)  # poses (length, 7) by name, of simulated episodes
    endposes: np.ndarray | None = None  # float64 (length, 2, 7) left and right tool: x, y, z, quaternion w, x, y, z


@dataclass(frozen=True)
class Episode:
    """One recorded run of a task.

    `read_frame(i)` returns frame i of [0, length) as uint8 (H, W, 3) RGB of one camera, whatever the colour order
    in the file was. Both callables can be pickled, so that an episode can be sent to another process.
    """

    task: str
    number: int  # episode number within its task; the same number in two RoboTwin data sets is the same scene
    length: int  # frames
    source: Path
    read_frame: Callable[[int], np.ndarray]
    instructions: tuple[str, ...] = ()
    read_joints: Callable[[], Joints] = Joints
    read_positions: Callable[[], dict[str, np.ndarray]] = dict  # (length, 3) by name: formats.positions.name_positions
    cameras: tuple[str, ...] = ("head_camera",)
    camera: str = "head_camera"
    save_freq: int | None = None  # physics steps of 1/250 s per saved frame
    rate: float | None = None  # frames per second, where the source states it itself
    notes: dict = field(default_factory=dict)  # what else the source says (seed, embodiment, ...)

    def __post_init__(self) -> None:
        check_name(f"{self.task}/{self.number}", f"the task of {self.source},")
        for camera in self.cameras:
            check_name(camera, f"a camera of {self.source},")
        if not 0 < self.length <= LONGEST_EPISODE:
            raise UserError(f"{self.source} says that it has {self.length} frames; record it again or remove it.")
        if not 0 <= self.number <= LARGEST_NUMBER:
            raise UserError(f"{self.source} has the episode number {self.number}; give it a smaller one.")

    @property
    def frames_per_second(self) -> float | None:
        """Rate of the recording: `rate` where stated, else 250 / save_freq, else unknown."""
        if self.rate is not None:
            return self.rate
        return PHYSICS_RATE / self.save_freq if self.save_freq else None

    @cached_property
    def joints(self) -> Joints:
        """States and actions, read on first use."""
        return self.read_joints()

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, uint8 (H, W, 3) RGB."""
        for index in range(self.length):
            yield self.read_frame(index)


def choose_camera(camera: str | None, cameras: tuple[str, ...], source: Path) -> str:
    """The camera asked for; by default the head camera, or the first there is.

    Raises:
        UserError: if there is no such camera.
    """
    if not cameras:
        raise UserError(f"{source} holds no camera pictures; record it with data_type rgb on.")
    if camera is None:
        heads = [name for name in cameras if "head" in name or name.endswith("cam_high")]
        return min(heads, key=len, default=cameras[0])  # AgiBot's `head`, not its fisheyes
    if camera not in cameras:
        raise UserError(f"{source} has no camera '{camera}'; choose one of {', '.join(cameras)} with --camera.")
    return camera


@dataclass(frozen=True)
class Recording:
    """One run of a task as its cameras saw it."""

    views: Mapping[str, Episode]  # camera => episode, all of one task and number
    name: str = ""  # unique among the recordings of one folder
    instruction: str = ""

    @property
    def main(self) -> Episode:
        """The first camera's episode: it gives task, number, length and joints."""
        return next(iter(self.views.values()))

    @property
    def renamed(self) -> str:
        """The cameras that go by other names than their own, for the stamp of what was made from it."""
        return "".join(f" {name}={view.camera}" for name, view in self.views.items() if name not in ("", view.camera))


def group_views(episodes: Iterable[Episode]) -> list[Recording]:
    """Episodes of one source, task and number but several cameras => one recording each, in order."""
    groups: dict[tuple, dict[str, Episode]] = {}
    for episode in episodes:
        groups.setdefault((episode.task, episode.number, str(episode.source)), {})[episode.camera] = episode
    return [Recording(views) for views in groups.values()]
