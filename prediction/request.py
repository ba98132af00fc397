"""What edit_cli's flags may not ask for, refused before anything is loaded. The manifest only.

A flag that would be ignored is refused too: its user would take the result for something that it is not.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from commands.errors import UserError
from formats.prepared_folder import FramePair

log = logging.getLogger(__name__)

NOT_OF_RECONSTRUCTION = (
    "edit", "steps", "cfg_text", "cfg_image", "sampler", "spacing", "eta", "rescale", "guide_between", "horizon",
    "colour_balance", "sharpen", "video",
)  # fmt: skip
OF_DATA_SETS = ("split", "limit", "episode")


def check_flags(opt: argparse.Namespace) -> None:
    """Refuse what makes no sense before anything is loaded.

    Raises:
        ValueError: if a number is out of range or flags exclude each other.
    """
    for flag in ("batch_size", "limit", "frames", "horizon", "rollout"):
        number = getattr(opt, flag)
        if number is not None and number < 1:
            raise UserError(f"--{flag.replace('_', '-')} {number}: wanted at least 1.")
    if opt.rollout is not None and opt.sweep is not None:
        raise UserError("--rollout and --sweep: choose one of them.")
    if opt.rollout is not None and opt.horizon is not None:
        raise UserError(
            "--rollout and --horizon: choose one; --rollout shows all frames on the way, --horizon the last."
        )
    if opt.sweep is not None and opt.video is not None:
        raise UserError("--sweep makes one sheet, no video: leave --video out.")
    if is_data_set(opt.input) and (opt.rollout is not None or opt.sweep is not None):
        raise UserError("--rollout and --sweep take a picture, not a data set; give one of its pictures as --input.")
    if opt.video is not None:
        from formats.video import check_rate, check_video_path

        check_video_path(opt.video)
        if opt.fps is not None:
            check_rate(opt.fps)
    for path in filter(None, (opt.output, opt.video)):
        check_writable(path)
    check_ignored(opt)


def check_ignored(opt: argparse.Namespace) -> None:
    """Refuse flags that the input or another flag makes void.

    Raises:
        ValueError: naming the flag.
    """
    if opt.input.exists() and not is_data_set(opt.input):
        void = [flag for flag in OF_DATA_SETS if getattr(opt, flag) is not None]
        if void:
            raise UserError(
                f"--{void[0]} chooses pairs of a data set, and {opt.input} is none (no index.jsonl or seeds.json); "
                "leave it out."
            )
        if opt.input.is_file() and opt.frames is not None:
            raise UserError(f"--frames takes pictures of a folder or data set; {opt.input} is one picture.")
    if opt.fps is not None and opt.video is None:
        raise UserError("--fps is of a video: name its file with --video, or leave --fps out.")
    if opt.sweep is not None and (opt.cfg_text is not None or opt.cfg_image is not None):
        raise UserError("--sweep brings its own scales: leave --cfg-text and --cfg-image out.")


def check_reconstruction(opt: argparse.Namespace) -> None:
    """Refuse what a reconstruction would ignore.

    Raises:
        ValueError: naming the flag, or that the truth is not known.
    """
    if not is_data_set(opt.input):
        raise UserError("--reconstruction encodes and decodes true future frames: give a data set as --input.")
    ignored = [flag for flag in NOT_OF_RECONSTRUCTION if getattr(opt, flag) not in (None, False, 0.0)]
    if ignored:
        flag = ignored[0].replace("_", "-")
        raise UserError(f"--reconstruction asks no diffusion model: --{flag} would have no effect; leave it out.")


def check_writable(path: Path) -> None:
    """Refuse an output that lies in something else than a folder.

    Raises:
        ValueError: naming the file that is in the way.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise UserError(f"{path} cannot be written: {there} is a file, not a folder; choose another name.")


def check_overwrites(pictures: Sequence[Path], targets: Sequence[Path], opt: argparse.Namespace) -> None:
    """Refuse outputs that would replace a picture that somebody brought.

    Args:
        pictures: all that lie in the input, predicted from or not.
        targets: files that will be written; with --rollout also a folder of frames beside each.
        opt: for --rollout and --video.

    Raises:
        ValueError: naming the picture.
    """
    brought = {path.resolve(): path for path in pictures}
    written = [*targets, *([opt.video] if opt.video else [])]
    lost = next((brought[path.resolve()] for path in written if path.resolve() in brought), None)
    if lost is None and opt.rollout is not None:
        folders = {target.with_suffix("").resolve() for target in targets}
        lost = next((path for whole, path in brought.items() if whole.parent in folders), None)
    if lost is not None:
        raise UserError(f"{lost} is the input itself and could be overwritten; choose another name or folder.")


def is_data_set(folder: Path) -> bool:
    """Whether it is a prepared folder or any InstructPix2Pix data set."""
    return (folder / "index.jsonl").is_file() or (folder / "seeds.json").is_file()


def check_truths(pairs: Sequence[FramePair], asked: int | None, own: int | None) -> None:
    """Predictions are to be measured against truths that are as far ahead.

    Raises:
        ValueError: if --horizon asks for another distance than the pairs have.
    """
    ahead = asked or own
    other = next((pair.horizon for pair in pairs if pair.horizon not in (None, ahead)), None)
    if ahead is None or other is None:
        return
    if asked is not None:
        raise UserError(
            f"--horizon {asked}: the pairs of this data set are {other} frames apart; ask for that, or none."
        )
    log.warning("the model predicts %d frames ahead, these pairs are %d apart; see --horizon.", ahead, other)
