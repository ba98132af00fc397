"""From a checkpoint on disk to a FramePredictor with the defaults of the checkpoint's own run.

How a checkpoint is read is handed in by the script, since ldm knows no published weights.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from commands.errors import MissingFileError, UserError
from formats.run_folder import RunFolder
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.training.config import compose
from ldm.util import get_obj_from_str, instantiate_from_config
from prediction.predictor import (
    FramePredictor,
    Precision,
    Runtime,
    SamplingOptions,
    default_runtime,
    tune_for_inference,
)
from prediction.tiny_decoder import use_tiny_decoder

log = logging.getLogger(__name__)

MAX_RESOLUTION = 2048  # pixels; attention over more does not fit any GPU


@dataclass(frozen=True)
class LoadedPredictor:
    """A predictor, and where it comes from."""

    predictor: FramePredictor
    checkpoint: Path
    checkpoint_sha256: str
    runtime: Runtime
    tiny_decoder: Path | None = None

    @property
    def horizon(self) -> int | None:
        """Frames ahead that the model was trained for, where its config says so."""
        return self.predictor.horizon

    def settings(self) -> dict[str, Any]:
        """What a prediction depends on beside picture, sentence and seed: for records."""
        options = {field.name: getattr(self.predictor.options, field.name) for field in fields(SamplingOptions)}
        options["interval"] = list(options["interval"]) if options["interval"] else None
        return options | {
            "precision": self.runtime.precision,
            "resolution": self.predictor.resolution,
            "checkpoint": self.checkpoint.name,
            "checkpoint_sha256": self.checkpoint_sha256,
            "tiny_decoder": self.tiny_decoder.name if self.tiny_decoder else None,
            "tiny_decoder_sha256": _sha256(self.tiny_decoder) if self.tiny_decoder else None,
        }


def find_config(checkpoint: Path) -> Path | None:
    """config.yaml beside a checkpoint, or that of the run folder it lies in."""
    for folder in (checkpoint, checkpoint.parent, checkpoint.parent.parent):
        if (folder / "config.yaml").is_file():
            return folder / "config.yaml"
    return None


def for_prediction(node: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a LatentDiffusion without what only training needs: the second U-Net of averages and image losses.

    Loading takes a checkpoint's averages into the U-Net itself.
    """
    params = {name: value for name, value in node["params"].items() if name != "frame_loss_config"}
    return {**node, "params": params | {"use_ema": False}}


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a config that no predictor can be made of.

    Raises:
        UserError: naming the section.
    """
    absent = [name for name in ("model", "resolution", "sampling") if config.get(name) is None]
    if absent:
        raise UserError(f"{path} has no section '{absent[0]}'; give --config, the config.yaml of the run.")
    target = config["model"].get("target", "")
    kind = get_obj_from_str(target, "model")
    if not (isinstance(kind, type) and issubclass(kind, LatentDiffusion)):
        raise UserError(
            f"{path}: {target} predicts no frames; give the checkpoint of a run of LatentDiffusion, the model that "
            "configs/train.yaml trains."
        )


def load_predictor(
    checkpoint: Path,
    load_weights: Callable,
    suggest_config: Callable[[Path], Mapping[str, Any]],
    config_path: Path | None = None,
    resolution: int | None = None,
    precision: Precision | None = None,
    compiled: bool = False,
    tiny_decoder: Path | None = None,
    **sampling: Any,
) -> LoadedPredictor:
    """The model of a config with the weights of a checkpoint, ready to predict.

    Args:
        checkpoint: file or folder.
        load_weights: (model, checkpoint, use_ema=) -> report.
        suggest_config: config of a checkpoint that has none beside it.
        config_path: None looks beside the checkpoint.
        resolution: None takes the config's.
        precision: None takes what suits the device.
        compiled: see Runtime.compile.
        tiny_decoder: file of a decoder to be used instead of the model's own, see ldm.models.tiny_autoencoder.
        **sampling: fields of SamplingOptions that replace the config's; None leaves the config's.

    Raises:
        FileNotFoundError: if there is no checkpoint, or no tiny decoder.
        ValueError: if a number makes no sense, or the config is of no model that predicts frames.
    """
    if not checkpoint.exists():
        raise MissingFileError(
            f"there is no checkpoint {checkpoint}; train one (python main.py --base configs/train.yaml --gpus 0), "
            "fetch one (python -m stable_diffusion.weights list), or leave --ckpt out for the bundled model."
        )
    path = config_path or find_config(checkpoint)
    config = compose([path]) if path else suggest_config(checkpoint)
    _check_config(config, path or checkpoint)
    resolution = config["resolution"] if resolution is None else resolution
    if not 0 < resolution <= MAX_RESOLUTION:
        raise UserError(f"--resolution {resolution} is outside 1 to {MAX_RESOLUTION}.")
    own = config["sampling"] | {name: value for name, value in sampling.items() if value is not None}
    if isinstance(own.get("interval"), list):
        own["interval"] = tuple(own["interval"])
    options = SamplingOptions(**own)
    model = instantiate_from_config(for_prediction(config["model"]), "model")
    log.debug("%s", load_weights(model, checkpoint, use_ema=True))
    if tiny_decoder is not None:
        use_tiny_decoder(model, tiny_decoder)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    runtime = default_runtime(device)
    runtime = replace(runtime, precision=precision or runtime.precision, compile=compiled)
    model = tune_for_inference(model.eval().to(device), runtime)
    model.latent_shape(torch.empty(3, resolution, resolution))  # refuses a resolution that does not divide
    predictor = FramePredictor(model, resolution, options, horizon=config.get("horizon"))
    return LoadedPredictor(predictor, checkpoint, _sha256(checkpoint), runtime, tiny_decoder)


def _sha256(path: Path) -> str:
    """Of a file's bytes; of a run folder, its last checkpoint's; of another folder, the digests of its weights."""
    last = RunFolder(path).checkpoints / "last.ckpt"
    if last.is_file():
        return _sha256(last)
    if path.is_dir():
        files = sorted(path.rglob("*.safetensors")) or sorted(path.rglob("*.bin"))
        return hashlib.sha256("".join(_sha256(file) for file in files).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
