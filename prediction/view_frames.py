"""What each camera will see, predicted for windows of prepared episodes: pairs and predictions of every view.

    python -m prediction.view_frames --ckpt logs/joint_stage_3 --data data/policy --seconds 4 --output views
    python -m metrics.compute_metrics --data views/head_camera/pairs --split test \\
        --train-data views/head_camera/pairs --predictions joint=views/head_camera/joint

    <output>/<camera>/pairs/    pairs of that camera: those that are predicted, and training pairs for the baselines
    <output>/<camera>/joint/    the predictions

Unlike edit_cli.py, which has one picture, the model of video and action is told all that an episode knows: every
camera, earlier frames and the state.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from commands.errors import UserError
from commands.run import run_command, show_progress
from formats.atomic import draft_folder
from formats.predictions_folder import picture_path, save_picture, write_records
from formats.prepared_folder import SPLITS, FramePair, write_manifest
from ldm.data.joint_windows import JointWindows
from ldm.data.pixels import tensor_to_array, to_uint8
from ldm.models.joint.prediction import check_mode, predict
from ldm.models.joint.video_action import JointVideoAction
from prediction.predictor import seed_of
from prediction.trained_run import TrainedRun, load_trained

MODES = ("video", "joint")


@dataclass(frozen=True)
class ViewRequest:
    """What is to be predicted, checked.

    Attributes:
        ckpt: run of a model of video and action.
        data: prepared episodes.
        output: folder that is written, whole or not at all.
        split: whose windows are predicted.
        seconds: ahead; several make films.
        every: frames between windows.
        limit: windows at most, spread evenly; None takes all.
        train_pairs: training windows at most, for the baselines.
        mode: `video`, or `joint`, which also acts.
        batch_size: windows predicted at once.
    """

    ckpt: Path
    data: Path
    output: Path
    split: str = "test"
    seconds: tuple[float, ...] = (4.0,)
    every: int = 16
    limit: int | None = None
    train_pairs: int = 1000
    mode: str = "video"
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("every", "limit", "train_pairs", "batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: wanted at least 1.")
        if list(self.seconds) != sorted({*self.seconds}) or self.seconds[0] <= 0:
            raise UserError(f"--seconds {' '.join(f'{s:g}' for s in self.seconds)}: wanted rising times above 0.")


def make_parser() -> argparse.ArgumentParser:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m prediction.view_frames", description=__doc__.split("\n", maxsplit=1)[0]
    )
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, help="run of a model of video and action")
    add("--data", type=Path, required=True, help="prepared episodes")
    add("--output", type=Path, required=True, help="folder for pairs and predictions of each camera")
    add("--split", choices=SPLITS, default="test", help="whose windows are predicted (default: test)")
    add("--seconds", type=float, nargs="+", default=[4.0], help="ahead; several make films (default: 4)")
    add("--every", type=int, default=16, help="frames between windows (default: 16)")
    add("--limit", type=int, help="windows at most, spread evenly")
    add("--train-pairs", type=int, default=1000, help="training windows at most, for the baselines (default: 1000)")
    add("--mode", choices=MODES, default=MODES[0], help="joint also acts (default: video)")
    add("--batch-size", type=int, default=16, help="windows predicted at once (default: 16)")
    return parser


def open_windows(model: JointVideoAction, request: ViewRequest, split: str) -> JointWindows:
    """Windows of a split as the model was trained on them, without chance."""
    acts = model.actions
    return JointWindows(
        request.data,
        split,
        model.cameras,
        chunk=acts.chunk if acts else 1,
        objects=acts.objects if acts else 0,
        state_size=acts.state_size if acts else 1,
        future=request.seconds,
        history=model.video.history,
        every=request.every,
        action_free=True,
        some_lack_cameras=True,
    )


def spread(count: int, most: int | None) -> list[int]:
    """Numbers below `count`, at most so many, spread evenly."""
    return list(range(count)) if most is None or most >= count else [i * count // most for i in range(most)]


class ViewFolders:
    """Pairs and predictions of every camera, collected under one folder."""

    def __init__(self, folder: Path, cameras: Sequence[str]) -> None:
        self.folder = folder
        self.pairs: dict[str, list[FramePair]] = {camera: [] for camera in cameras}
        self.records: dict[str, list[dict[str, Any]]] = {camera: [] for camera in cameras}

    def add_pair(self, camera: str, pair: FramePair, frames: Sequence[torch.Tensor]) -> FramePair:
        """Write current and future frame, (3, S, S) in [-1, 1]; returns the pair with its place."""
        pair = replace(pair, sample=f"{len(self.pairs[camera]):07d}")
        root = self.folder / camera / "pairs"
        (root / pair.sample).mkdir(parents=True)
        for path, frame in zip(pair.paths(root), frames, strict=True):
            Image.fromarray(tensor_to_array(to_uint8(frame))).save(path)
        self.pairs[camera].append(pair)
        return pair

    def add_prediction(self, camera: str, pair: FramePair, frame: torch.Tensor, record: dict[str, Any]) -> None:
        """Write a predicted frame, (3, S, S) about [-1, 1]."""
        folder = self.folder / camera / "joint"
        path = picture_path(folder, pair.pair_id)
        record = {
            "pair_id": pair.pair_id,
            "file": str(path.relative_to(folder)),
            "instruction": pair.instruction,
        } | record
        save_picture(path, Image.fromarray(tensor_to_array(to_uint8(frame))), record)
        self.records[camera].append(record)

    def finish(self, description: dict) -> None:
        """Write the indices; a camera that no window shows is left out."""
        for camera, pairs in self.pairs.items():
            if pairs:
                write_manifest(self.folder / camera / "pairs", pairs, description)
                write_records(self.folder / camera / "joint", self.records[camera])


Found = tuple[int, int, FramePair, tuple[torch.Tensor, torch.Tensor]]


def pairs_of(windows: JointWindows, batch: dict, split: str, camera: str) -> Iterator[Found]:
    """Row, number of the frame to come, pair and its frames of each window of a batch that has both frames."""
    episodes = {episode.episode_id: episode for episode in windows.source.episodes}
    for row, window_id in enumerate(batch["pair_id"]):
        name, _, at = window_id.rpartition("/")
        episode, t = episodes[name], int(at)
        for k, seconds in enumerate(batch["seconds"][row].tolist()):
            if batch["future_valid"][camera][row, k]:
                later = t + round(seconds * episode.frames_per_second)
                pair = FramePair(
                    f"{name}/{t}-{later}", "", "000000", batch["instruction"][row], ".png", split, episode.task,
                    episode.number, t, later, episode.frames_per_second, origin=name, split_rule="episode",
                )  # fmt: skip
                yield row, k, pair, (batch["frames"][camera][row, -1], batch["future"][camera][row, k])


def predict_views(run: TrainedRun, request: ViewRequest) -> dict[str, int]:
    """Write the folders; returns how many pairs of each camera were predicted.

    Raises:
        UserError: if the model has no video, or no window has a frame so far ahead.
    """
    model = run.model
    if not isinstance(model, JointVideoAction):
        raise UserError(f"{request.ckpt} holds a {type(model).__name__}; wanted a run of video and action.")
    check_mode(model, request.mode)
    windows = open_windows(model, request, request.split)
    with draft_folder(request.output) as draft:
        folders = ViewFolders(draft, list(model.cameras))
        if request.split != "train":
            _write_training_pairs(folders, open_windows(model, request, "train"), request.train_pairs)
        chosen = spread(len(windows), request.limit)
        starts = range(0, len(chosen), request.batch_size)
        for start in show_progress(starts, "predicting", len(starts)):
            batch = windows.collate([windows[index] for index in chosen[start : start + request.batch_size]])
            seeds = [seed_of(name, 0) for name in batch["pair_id"]]
            predicted = _predict(model, batch, request.mode, seeds, together=len(model.video.seconds) > 1)
            for camera in model.cameras:
                for row, k, pair, frames in pairs_of(windows, batch, request.split, camera):
                    record = {"seed": seeds[row], "mode": request.mode, "checkpoint_sha256": run.digest}
                    placed = folders.add_pair(camera, pair, frames)
                    folders.add_prediction(camera, placed, predicted[camera][row, k], record)
        counts = {camera: len(records) for camera, records in folders.records.items() if records}
        if not counts:
            raise UserError(f"no window of {request.data} has a frame {request.seconds[0]:g} s ahead; ask for less.")
        folders.finish({"made_by": "prediction.view_frames", "seconds": request.seconds, "every": request.every})
    return counts


def _write_training_pairs(folders: ViewFolders, windows: JointWindows, most: int) -> None:
    for index in spread(len(windows), most):
        batch = windows.collate([windows[index]])
        for camera in folders.pairs:
            for _, _, pair, frames in pairs_of(windows, batch, "train", camera):
                folders.add_pair(camera, pair, frames)


def _predict(
    model: JointVideoAction, batch: dict, mode: str, seeds: Sequence[int], *, together: bool
) -> dict[str, torch.Tensor]:
    """Camera => (B, F, 3, S, S): frames asked together, or, of a model that was trained on one, one after another."""
    if together:
        return predict(model, batch, mode, seeds).frames
    times = batch["seconds"].split(1, dim=1)
    answers = [predict(model, batch | {"seconds": seconds}, mode, seeds).frames for seconds in times]
    return {camera: torch.cat([answer[camera] for answer in answers], dim=1) for camera in model.cameras}


def main(argv: Sequence[str] | None = None) -> int:
    """Predict, and say what to measure."""
    options = vars(make_parser().parse_args(argv))

    def run() -> None:
        request = ViewRequest(**options | {"seconds": tuple(options["seconds"])})
        counts = predict_views(load_trained(request.ckpt), request)
        sys.stdout.write(
            "".join(f"{request.output / camera}: {count} predictions\n" for camera, count in counts.items())
        )

    return run_command("python -m prediction.view_frames", run)


if __name__ == "__main__":
    sys.exit(main())
