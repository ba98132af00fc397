"""Predictions drawn for people: pictures, rollout strips, sheets of guidance scales, videos."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from formats.pictures import open_picture
from formats.predictions_folder import save_picture
from ldm.data.pixels import array_to_tensor, tensor_to_array
from prediction.dataset import Job, PredictedJob, summarise_samples
from prediction.postprocess import Postprocess
from prediction.predictor import FramePredictor, Progress, sample_seeds
from prediction.request import Sweep

BAR = 18  # pixels of a label's bar
GAP = 4  # pixels between panels
PAPER = "white"
INK = "black"
MIN_PANEL = 96  # pixels; smaller frames are enlarged so that their labels fit


def write_pictures(batches: Iterable[list[PredictedJob]], settings: dict[str, Any]) -> Iterator[str]:
    """Write each prediction in the size of its input, and yield a sentence about anything unusual."""
    for batch in batches:
        for item in batch:
            record = {"source": str(item.job.source), "instruction": item.job.instruction, "seed": item.job.seed}
            picture = Image.fromarray(item.frame).resize(item.opened.size, Image.Resampling.BICUBIC)
            save_picture(item.job.target, picture, record | settings)
            for camera, view in item.views.items():
                save_picture(view_path(item.job.target, camera), Image.fromarray(view), record | settings)
            yield from (f"{item.job.source}: {note}" for note in item.opened.notes)


def view_path(target: Path, camera: str) -> Path:
    """Where what another camera will see lies beside a prediction."""
    return target.with_name(f"{target.stem}_{camera}{target.suffix}")


@dataclass(frozen=True)
class Rollout:
    """Frames predicted from one: from predictions again, at several times directly, or as samples of one time."""

    job: Job
    source: np.ndarray  # uint8 (S, S, 3)
    frames: list[np.ndarray]  # at 1, 2, ... times the horizon
    size: tuple[int, int]  # width and height of the input
    captions: tuple[str, ...] = ()  # of the frames, where they are not multiples of a horizon
    views: dict[str, list[np.ndarray]] = field(default_factory=dict)  # other cameras' frames, where it knows some

    def labels(self, horizon: int | None) -> list[str]:
        """Caption of the input and of each frame."""
        if self.captions:
            return ["input", *self.captions]
        numbers = range(1, len(self.frames) + 1)
        steps = [f"+{k * horizon} frames" if horizon else f"+{k} horizons" for k in numbers]
        return ["input", *steps]


def predict_rollout(
    predictor: FramePredictor, job: Job, num: int, postprocess: Postprocess, progress: Progress = iter
) -> Rollout:
    """Rollout of one picture; post-processing changes what is shown, not what is fed back."""
    opened = open_picture(job.source)
    source = opened.squared(predictor.resolution)
    frame = array_to_tensor(source)[None]
    times = None if job.seconds is None else [job.seconds]
    rolled = predictor.rollout(frame, [job.instruction], [job.seed], num, seconds=times, progress=progress).cpu()
    shown = postprocess(rolled[:, 0], frame.expand(num, -1, -1, -1))
    captions = label_times([k * job.seconds for k in range(1, num + 1)]) if job.seconds else ()
    return Rollout(job, source, [tensor_to_array(frame) for frame in shown], opened.size, captions)


def label_times(seconds: Sequence[float]) -> tuple[str, ...]:
    """Captions of frames so many seconds ahead."""
    return tuple(f"+{second:.3g} s" for second in seconds)


def predict_futures(
    predictor: FramePredictor, job: Job, seconds: Sequence[float], postprocess: Postprocess, progress: Progress = iter
) -> Rollout:
    """One picture at several times, each drawn directly: no error is fed back."""
    opened = open_picture(job.source)
    source = opened.squared(predictor.resolution)
    frames = array_to_tensor(source).expand(len(seconds), -1, -1, -1)
    asked = [job.instruction] * len(seconds), [job.seed] * len(seconds)
    main, others = predictor.predict_views(frames, *asked, seconds=seconds, progress=progress)
    shown = [tensor_to_array(one) for one in postprocess(main.cpu(), frames)]
    views = {camera: [tensor_to_array(one) for one in drawn.cpu()] for camera, drawn in others.items()}
    return Rollout(job, source, shown, opened.size, label_times(seconds), views)


def rows_of_views(views: Mapping[str, Sequence[np.ndarray]], side: int) -> tuple[list, list]:
    """Rows and labels of a sheet: other cameras' frames in the size of the first row's, under their names."""
    rows = [[np.asarray(Image.fromarray(one).resize((side, side))) for one in drawn] for drawn in views.values()]
    return rows, [[camera] * len(drawn) for camera, drawn in views.items()]


def predict_samples(
    predictor: FramePredictor, job: Job, num: int, postprocess: Postprocess, progress: Progress = iter
) -> tuple[Rollout, np.ndarray]:
    """The mean of several predictions of one picture, then each; uint8 (S, S) where they differ, see SPREAD_GAIN."""
    opened = open_picture(job.source)
    source = opened.squared(predictor.resolution)
    frames = array_to_tensor(source).expand(num, -1, -1, -1)
    times = None if job.seconds is None else [job.seconds] * num
    asked = [job.instruction] * num, sample_seeds(job.seed, num)
    drawn = predictor.predict(frames, *asked, seconds=times, drawn=True, progress=progress).cpu()
    mean, spread = summarise_samples(drawn[:, None])
    shown = postprocess(torch.cat([mean, drawn]), torch.cat([frames, frames[:1]]))
    captions = ("mean", *(f"sample {k}" for k in range(1, num + 1)))
    return Rollout(job, source, [tensor_to_array(one) for one in shown], opened.size, captions), spread[0].numpy()


def write_rollout(rollout: Rollout, horizon: int | None, settings: dict[str, Any]) -> Path:
    """Write the strip, and each frame in the size of the input into a folder of the strip's name; that folder."""
    target = rollout.job.target
    record = {"instruction": rollout.job.instruction, "seed": rollout.job.seed} | settings
    frames = [rollout.source, *rollout.frames]
    rows, names = rows_of_views(
        {c: [np.full_like(frames[0], 255), *v] for c, v in rollout.views.items()}, len(frames[0])
    )
    save_picture(target, draw_panels([frames, *rows], [rollout.labels(horizon), *names]), record)
    folder = target.with_suffix("")
    for k, frame in enumerate(rollout.frames, start=1):
        picture = Image.fromarray(frame).resize(rollout.size, Image.Resampling.BICUBIC)
        save_picture(folder / f"{k:03d}.png", picture, record | {"rollout": k})
        for camera, drawn in rollout.views.items():
            path = view_path(folder / f"{k:03d}.png", camera)
            save_picture(path, Image.fromarray(drawn[k - 1]), record | {"rollout": k})
    return folder


def rollout_video(rollouts: Sequence[Rollout], horizon: int | None) -> Iterator[np.ndarray]:
    """Frames of a video: the input beside what is predicted from it, one rollout after another."""
    for rollout in rollouts:
        labels = rollout.labels(horizon)
        for frame, label in zip([rollout.source, *rollout.frames], labels, strict=True):
            yield np.asarray(draw_panels([[rollout.source, frame]], [["input", label]]))


def comparison_video(jobs: Sequence[Job], steps: Sequence[str] | None = None) -> Iterator[np.ndarray]:
    """Frames of a video of written predictions: input, prediction, and the truth where it is known."""
    size = open_picture(jobs[0].target).size
    for number, job in enumerate(jobs):
        paths = [job.source, job.target] + ([job.truth] if job.truth else [])
        frames = [np.asarray(_in_size(open_picture(path).image, size)) for path in paths]
        name = steps[number] if steps else ""
        labels = [f"input {name}".strip(), "predicted", "truth"][: len(frames)]
        yield np.asarray(draw_panels([frames], [labels]))


def _in_size(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def draw_sweep(
    predictor: FramePredictor,
    job: Job,
    sweep: Sweep,
    postprocess: Postprocess,
    progress: Progress = iter,
    horizon: int | None = None,
) -> Image.Image:
    """Sheet of one picture's predictions under all pairs of scales; same seed and horizon (in frames) everywhere."""
    source = open_picture(job.source).squared(predictor.resolution)
    frame = array_to_tensor(source)[None]
    times = None if job.seconds is None else [job.seconds]
    rows, labels = [], []
    for text_scale in sweep.text_scales:
        row = []
        for image_scale in sweep.image_scales:
            options = replace(predictor.options, text_scale=text_scale, image_scale=image_scale)
            asked = {"seconds": times, "options": options, "progress": progress}
            predicted = predictor.predict(frame, [job.instruction], [job.seed], horizon, **asked)
            row.append(tensor_to_array(postprocess(predicted.cpu(), frame)[0]))
        rows.append([source, *row])
        labels.append(["input", *(f"text {text_scale:g}, image {scale:g}" for scale in sweep.image_scales)])
    return draw_panels(rows, labels)


def draw_panels(rows: Sequence[Sequence[np.ndarray]], labels: Sequence[Sequence[str]]) -> Image.Image:
    """Sheet of uint8 (H, W, 3) frames in rows, each under its label.

    Args:
        rows: frames of one size; rows may differ in length.
        labels: as many; a label too long for its panel is cut.
    """
    height, width = rows[0][0].shape[:2]
    scale = max(1, -(-MIN_PANEL // min(height, width)))
    size = (width * scale, height * scale)
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (size[0] + GAP) - GAP, len(rows) * (size[1] + BAR + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for r, (row, names) in enumerate(zip(rows, labels, strict=True)):
        for c, (frame, label) in enumerate(zip(row, names, strict=True)):
            left, top = c * (size[0] + GAP), r * (size[1] + BAR + GAP)
            pen.text((left + 2, top + 1), _fitting(label, font, size[0] - 4), fill=INK, font=font)
            panel = Image.fromarray(frame)
            sheet.paste(panel if scale == 1 else panel.resize(size, Image.Resampling.NEAREST), (left, top + BAR))
    return sheet


def _fitting(label: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    while label and font.getlength(label) > width:
        label = label[:-1]
    return label


def resized(grey: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A map uint8 (H, W) in the size (width, height) of a picture."""
    return Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)


def draw_difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): how much each pixel changes, white for nothing, dark for all."""
    change = np.abs(before.astype(np.int16) - after.astype(np.int16)).max(axis=2)
    return np.repeat((255 - change).astype(np.uint8)[..., None], 3, axis=2)
