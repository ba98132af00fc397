"""What is to be predicted, as frozen dataclasses: parsed and checked once, before anything is loaded.

A flag that would be ignored is refused too, since its user would misread the result. Imports no
torch, so that a command's --help and its refusals come at once.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from commands.errors import MissingFileError, UserError
from formats.atomic import inside
from formats.pictures import PICTURE_SUFFIXES
from formats.predictions_folder import RECORDS
from formats.prepared_folder import INDEX, SEEDS, FramePair, read_manifest
from prediction.model_request import SAMPLING_FLAGS
from prediction.output_checks import check_overwrites, check_writable

log = logging.getLogger(__name__)

MAX_SWEEP = 100  # pictures in one sheet
NOT_OF_RECONSTRUCTION = (
    "edit", *SAMPLING_FLAGS, "horizon", "seconds", "chain", "samples", "colour_balance", "sharpen", "video",
)  # fmt: skip
OF_DATA_SETS = ("split", "limit", "episode", "chain")
OF_PICTURES = ("rollout", "sweep", "seconds", "uncertainty")  # a data set's pairs bring their times
MAX_SAMPLES = 64  # of one picture


@dataclass(frozen=True)
class Sweep:
    """Guidance scales to try: rows are text scales, columns image scales."""

    text_scales: tuple[float, ...]
    image_scales: tuple[float, ...]

    @staticmethod
    def parse(text: str) -> "Sweep":
        """From "1,4,7.5x1,1.5,2".

        Raises:
            UserError: if it is not two lists of numbers, or too many.
        """
        try:
            rows, columns = (tuple(float(number) for number in part.split(",")) for part in text.split("x"))
        except ValueError:
            raise UserError(
                f"--sweep {text}: wanted text scales x image scales, such as 1,4,7.5x1,1.5,2 (no spaces)."
            ) from None
        if len(rows) * len(columns) > MAX_SWEEP:
            raise UserError(f"--sweep {text}: {len(rows) * len(columns)} pictures, at most {MAX_SWEEP} fit a sheet.")
        return Sweep(rows, columns)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What both kinds of input have: see the flags of edit_cli.py for each field."""

    input: Path
    output: Path | None = None
    edit: str | None = None
    seed: int = 0
    batch_size: int = 16
    horizon: int | None = None  # frames ahead
    samples: int | None = None  # predictions of each frame, for models that do not predict the mean
    frames: int | None = None
    video: Path | None = None
    fps: float | None = None
    colour_balance: bool = False
    sharpen: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "limit", "frames", "horizon", "rollout", "samples"):
            number = getattr(self, name, None)
            if number is not None and number < 1:
                raise UserError(f"--{name.replace('_', '-')} {number}: wanted at least 1.")
        if self.samples is not None and not 2 <= self.samples <= MAX_SAMPLES:
            raise UserError(f"--samples {self.samples}: wanted 2 to {MAX_SAMPLES}, to see where they differ.")
        if self.fps is not None and self.video is None:
            raise UserError("--fps is of a video: name its file with --video, or leave --fps out.")
        if self.video is not None:
            from formats.video import check_rate, check_video_path

            check_writable(check_video_path(self.video))
            if self.fps is not None:
                check_rate(self.fps)

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> Self:
        """From a command's flags by name."""
        return cls(**{one.name: flags[one.name] for one in fields(cls) if one.name in flags})


@dataclass(frozen=True, kw_only=True)
class PictureRequest(Request):
    """Predictions of one picture, or of the pictures of a folder.

    Raises:
        UserError: if flags exclude each other, or a picture of the user's would be overwritten.
        MissingFileError: if there is nothing to predict from.
    """

    rollout: int | None = None
    sweep: Sweep | None = None
    seconds: tuple[float, ...] | None = None  # ahead, for models that take the time as an input
    uncertainty: Path | None = None  # picture of where samples differ

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_seconds()
        self._check_samples()
        if self.rollout is not None and self.sweep is not None:
            raise UserError("--rollout and --sweep: choose one of them.")
        if self.rollout is not None and self.horizon is not None:
            raise UserError(
                "--rollout and --horizon: choose one; --rollout shows all frames on the way, --horizon the last."
            )
        if self.sweep is not None and self.video is not None:
            raise UserError("--sweep makes one sheet, no video: leave --video out.")
        if self.edit is None or not self.edit.strip():
            raise UserError('--edit is empty; say what the robot does, such as --edit "stack blocks".')
        targets = [target for _, target in self.pictures]
        for target in targets[:1]:
            check_writable(target)
        check_overwrites(self._brought, targets, self.is_series, self.video)

    def _check_seconds(self) -> None:
        """Refuse times that make no sense, or go with another way of saying how far ahead."""
        if self.seconds is None:
            return
        wrong = next((second for second in self.seconds if not 0 < second < float("inf")), None)
        if wrong is not None:
            raise UserError(f"--seconds {wrong:g}: wanted a time above 0.")
        if self.horizon is not None:
            raise UserError("--seconds and --horizon: choose one; which one the model counts in, its config says.")
        several = next((flag for flag in ("rollout", "sweep", "samples") if getattr(self, flag) is not None), None)
        if several and len(self.seconds) > 1:
            raise UserError(f"--{several} takes one time: give --seconds one number.")

    def _check_samples(self) -> None:
        """Refuse samples that would be shown nowhere, or a map of none."""
        if self.uncertainty is not None and self.samples is None:
            raise UserError("--uncertainty shows where samples differ: give --samples too, such as --samples 8.")
        other = next((flag for flag in ("rollout", "sweep") if getattr(self, flag) is not None), None)
        if self.samples is not None and other:
            raise UserError(f"--samples and --{other}: choose one of them.")
        if self.uncertainty is not None:
            if self.input.is_dir():
                raise UserError("--uncertainty is the map of one picture; a data set's maps go beside its predictions.")
            check_writable(self.uncertainty)

    @property
    def is_series(self) -> bool:
        """Whether a strip of several frames is drawn for each picture, and a folder of them."""
        return self.rollout is not None or self.samples is not None or len(self.seconds or ()) > 1

    @cached_property
    def pictures(self) -> tuple[tuple[Path, Path], ...]:
        """What is predicted from, and where each prediction goes."""
        if not self.input.is_dir():
            target = self.output or self.input.with_name(f"{self.input.stem}_future.png")
            if target.suffix.lower() not in PICTURE_SUFFIXES:
                target = target / f"{self.input.stem}.png"
            return ((self._brought[0], target),)
        output = self.output or self.input.with_name(self.input.name + "_future")
        stems = [path.stem for path in self._brought]
        names = [path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "_") for path in self._brought]
        found = [(path, inside(output, f"{name}.png")) for path, name in zip(self._brought, names, strict=True)]
        return tuple(found[: self.frames])

    @cached_property
    def _brought(self) -> list[Path]:
        """Pictures of the input, predicted from or not; what is no regular file, such as a pipe, is none."""
        if self.input.is_dir():
            found = sorted(p for p in self.input.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
            if not found:
                wanted = ", ".join(PICTURE_SUFFIXES)
                raise MissingFileError(f"no pictures in {self.input}; wanted files ending in {wanted}.")
            return found
        if not self.input.exists():
            raise MissingFileError(f"there is no picture or folder {self.input}.")
        if self.frames is not None:
            raise UserError(f"--frames takes pictures of a folder or data set; {self.input} is one picture.")
        return [self.input]


@dataclass(frozen=True, kw_only=True)
class DatasetRequest(Request):
    """Predictions, or reconstructions, of the pairs of a prepared data set.

    Raises:
        UserError: if there is no place to write to, or no pair is left.
    """

    output: Path
    split: str | None = None
    limit: int | None = None
    episode: str | None = None
    reconstruction: bool = False
    chain: float | None = None  # seconds of a prediction; each pair's time is reached by feeding predictions back

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is None:
            raise UserError("a data set needs --output, the folder that the predictions go to.")
        if self.chain is not None and (not self.chain > 0 or self.samples is not None):
            raise UserError(f"--chain {self.chain:g}: wanted seconds above 0, and no --samples.")
        if self.edit is not None and not self.edit.strip():
            raise UserError("--edit is empty; leave it out, and the data's own sentences are taken.")
        if self.output.exists() and not self.output.is_dir():
            raise UserError(f"--output {self.output} is a file; a data set's predictions need a folder.")
        check_writable(self.output / RECORDS)
        self.check_frames()

    @cached_property
    def pairs(self) -> tuple[FramePair, ...]:
        """Pairs that --split, --episode, --frames and --limit leave."""
        split = self.split or "test"
        pairs = read_manifest(self.input, None if split == "all" else split)
        if self.episode is not None:
            name = self.episode.rstrip("/") + "/"
            wanted = [pair for pair in pairs if pair.pair_id.startswith(name)]
            if not wanted:
                raise UserError(
                    f"--episode {self.episode}: no pair of split '{split}' begins so; {pairs[0].pair_id} does."
                )
            pairs = wanted
        if self.frames is not None:
            first = (pairs[0].task, pairs[0].episode)
            pairs = [pair for pair in pairs if (pair.task, pair.episode) == first]
            pairs = sorted(pairs, key=lambda pair: pair.source_index or 0)[: self.frames]
        if self.limit is not None and self.limit < len(pairs):
            pairs = [pairs[i * len(pairs) // self.limit] for i in range(self.limit)]
        return tuple(pairs)

    @cached_property
    def all_pairs(self) -> list[FramePair]:
        """Pairs of the whole data set."""
        return read_manifest(self.input)

    def check_frames(self) -> None:
        """Say where --frames gets fewer pairs than asked, or pairs that do not follow one another."""
        if self.frames is None or self.pairs[0].source_index is None:
            return
        at = [pair.source_index for pair in self.pairs]
        steps = sorted({after - before for before, after in zip(at, at[1:], strict=False)})
        if len(self.pairs) < self.frames:
            log.info(
                "--frames %d: the episode of %s has only %d pairs.", self.frames, self.pairs[0].pair_id, len(self.pairs)
            )
        if steps and steps != [1]:
            log.info(
                "--frames %d: these sources are %s frames apart, not consecutive. A figure of consecutive frames needs "
                "pairs from every frame: python -m dataset_tools.prepare_dataset --episodes <folder> "
                "--output <another folder> --horizon %s --stride 1",
                self.frames, " or ".join(map(str, steps)), self.pairs[0].horizon,
            )  # fmt: skip

    def check_truths(self, own: int | None) -> None:
        """Predictions are to be measured against truths that are as far ahead.

        Args:
            own: frames that the model looks ahead; None where its horizons vary or are not known.

        Raises:
            UserError: if --horizon asks for another distance than the pairs have.
        """
        ahead = self.horizon or own
        other = next((pair.horizon for pair in self.pairs if pair.horizon not in (None, ahead)), None)
        if ahead is None or other is None:
            return
        if self.horizon is not None:
            raise UserError(
                f"--horizon {self.horizon}: the pairs of this data set are {other} frames apart; ask for that, or none."
            )
        log.warning("the model predicts %d frames ahead, these pairs are %d apart; see --horizon.", ahead, other)


def make_request(flags: Mapping[str, Any]) -> PictureRequest | DatasetRequest:
    """The request that a command's flags make.

    Args:
        flags: by name; None or False where not given. `sweep` is text, see Sweep.parse.

    Raises:
        UserError: if a flag belongs to the other kind of input, or a value is wrong.
    """
    of_data_set = is_data_set(flags["input"])
    if flags.get("seconds") is not None:
        flags = {**flags, "seconds": tuple(flags["seconds"])}
    if flags.get("sweep") is not None:
        flags = {**flags, "sweep": Sweep.parse(flags["sweep"])}
        if flags.get("cfg_text") is not None or flags.get("cfg_image") is not None:
            raise UserError("--sweep brings its own scales: leave --cfg-text and --cfg-image out.")
    of_pictures = [name for name in OF_PICTURES if flags.get(name) is not None]
    if of_data_set and of_pictures:
        raise UserError(f"--{of_pictures[0]} takes a picture, not a data set; give one of its pictures as --input.")
    if flags.get("reconstruction"):
        _check_reconstruction(flags, of_data_set)
    if of_data_set:
        return DatasetRequest.of(flags)
    void = [name for name in OF_DATA_SETS if flags.get(name) is not None]
    if void and flags["input"].exists():
        raise UserError(
            f"--{void[0]} chooses pairs of a data set, and {flags['input']} is none (no index.jsonl or seeds.json); "
            "leave it out."
        )
    return PictureRequest.of(flags)


def _check_reconstruction(flags: Mapping[str, Any], of_data_set: bool) -> None:
    if not of_data_set:
        raise UserError("--reconstruction encodes and decodes true future frames: give a data set as --input.")
    ignored = [name for name in NOT_OF_RECONSTRUCTION if flags.get(name) not in (None, False, 0.0)]
    if ignored:
        flag = ignored[0].replace("_", "-")
        raise UserError(f"--reconstruction asks no diffusion model: --{flag} would have no effect; leave it out.")


def is_data_set(folder: Path) -> bool:
    """Whether it is a prepared folder or any InstructPix2Pix data set."""
    return (folder / INDEX).is_file() or (folder / SEEDS).is_file()
