"""Loads a checkpoint as a predictor, with the defaults of the checkpoint's own run.

One table says how each kind of model is loaded. A config found beside weights is as untrusted as they are, so it may
name only this project's classes, unless the user trusts it.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commands.errors import UserError
from formats.hashing import sha256_of_file
from formats.run_folder import RunFolder
from formats.templates import check_template, fill_once
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.models.joint.video_action import JointVideoAction
from ldm.models.tiny_autoencoder import load_tiny_decoder
from ldm.modules.distributions.distributions import DeltaDistribution, DiagonalGaussianDistribution
from ldm.util import get_obj_from_str, instantiate_from_config
from prediction.joint_predictor import JointPredictor
from prediction.model_request import ENGINES, ModelRequest
from prediction.predictor import FramePredictor, Runtime, default_runtime, tune_for_inference
from prediction.trained_run import load_trained
from stable_diffusion.checkpoint_config import for_prediction, read_config
from stable_diffusion.load import load_first_stage, load_pretrained

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
    first_stage: Path | None = None  # another one than the checkpoint's own
    template: str | None = None  # of the sentences that the model was trained on; see formats.templates
    engine: str = ENGINES[0]

    @property
    def horizon(self) -> int | None:
        """Frames ahead that the model was trained for, where its config says so."""
        return self.predictor.horizon

    def sentence(self, edit: str) -> str:
        """What is sent for a sentence of the user: the form that the model was trained on."""
        return edit if self.template is None else fill_once(self.template, edit, self.horizon)

    def settings(self) -> dict[str, Any]:
        """What a prediction depends on beside picture, sentence and seed: for records."""
        options = {field.name: getattr(self.predictor.options, field.name) for field in fields(SamplingOptions)}
        options["interval"] = list(options["interval"]) if options["interval"] else None
        settings = options | {
            "precision": self.runtime.precision,
            "resolution": self.predictor.resolution,
            "checkpoint": self.checkpoint.name,
            "checkpoint_sha256": self.checkpoint_sha256,
            "tiny_decoder": self.tiny_decoder.name if self.tiny_decoder else None,
            "tiny_decoder_sha256": digest_of_weights(self.tiny_decoder) if self.tiny_decoder else None,
        }
        if self.engine != ENGINES[0]:
            settings["engine"] = self.engine
        if self.predictor.neighbours is not None:
            settings |= self.predictor.neighbours.settings()
        if self.first_stage is not None:
            own = {"first_stage": self.first_stage.name, "first_stage_sha256": digest_of_weights(self.first_stage)}
            settings |= own
        return settings


def load_predictor(request: ModelRequest) -> LoadedPredictor:
    """The model of a config with the weights of a checkpoint, ready to predict.

    Raises:
        MissingFileError: if there is no checkpoint, or no tiny decoder.
        UserError: if a number makes no sense, or the config is of no model that predicts frames.
    """
    config, path = read_config(request.ckpt, request.config, trusted=request.trust_config)
    return loader_of(config, path)(config, path, request)


def loader_of(config: Mapping[str, Any], path: Path) -> Callable[[Mapping[str, Any], Path, ModelRequest], Any]:
    """How a model of this config's kind is loaded.

    Raises:
        UserError: if nothing here predicts with such a model.
    """
    node = config.get("model")
    if not isinstance(node, Mapping):
        raise UserError(f"{path} has no section 'model'; give --config, the config.yaml of the run.")
    target = node.get("target", "")
    kind = get_obj_from_str(target, "model")
    for known, load in LOADERS.items():
        if isinstance(kind, type) and issubclass(kind, known):
            return load
    raise UserError(
        f"{path}: {target} predicts no frames; give the checkpoint of a run of LatentDiffusion, the model that "
        "configs/train.yaml trains, or of JointVideoAction (configs/recipes/joint_stage_3.yaml)."
    )


def _load_frame_predictor(config: Mapping[str, Any], path: Path, request: ModelRequest) -> LoadedPredictor:
    absent = [name for name in ("resolution", "sampling") if config.get(name) is None]
    if absent:
        raise UserError(f"{path} has no section '{absent[0]}'; give --config, the config.yaml of the run.")
    resolution = config["resolution"] if request.resolution is None else request.resolution
    if not 0 < resolution <= MAX_RESOLUTION:
        raise UserError(f"--resolution {resolution} is outside 1 to {MAX_RESOLUTION}.")
    sampling = {**config["sampling"], **request.sampling}
    if isinstance(sampling.get("interval"), list):
        sampling["interval"] = tuple(sampling["interval"])
    options = SamplingOptions(**sampling)
    template = config.get("instruction_template")
    if template is not None:
        check_template(template, path)
    model = instantiate_from_config(for_prediction(config["model"]), "model")
    log.debug("%s", load_pretrained(model, request.ckpt, use_ema=True))
    first_stage = None if request.first_stage is None else load_first_stage(model, request.first_stage).path
    if request.tiny_decoder is not None:
        use_tiny_decoder(model, request.tiny_decoder)
    on_cpu = request.engine != ENGINES[0] or not torch.accelerator.is_available()
    device = torch.device("cpu") if on_cpu else torch.accelerator.current_accelerator()
    runtime = default_runtime(device)
    runtime = replace(runtime, precision=request.precision or runtime.precision, compile=request.compile)
    model = tune_for_inference(model.eval().to(device), runtime)
    model.latent_shape(torch.empty(3, resolution, resolution))  # refuses a resolution that does not divide
    digest = digest_of_weights(request.ckpt)
    if request.engine != ENGINES[0]:
        from prediction.engine import use_onnxruntime  # noqa: PLC0415 - an extra, and slow to import

        use_onnxruntime(model, config, digest, resolution)
    between = config.get("horizon_range")
    node = config.get("neighbours")
    seconds = config.get("seconds_range")
    predictor = FramePredictor(
        model,
        resolution,
        options,
        horizon=config.get("horizon"),
        horizon_range=tuple(between) if between else None,
        neighbours=instantiate_from_config(node, "neighbours") if node else None,
        seconds=config.get("seconds"),
        seconds_range=tuple(seconds) if seconds else None,
    )
    return LoadedPredictor(
        predictor, request.ckpt, digest, runtime, request.tiny_decoder, first_stage, template, request.engine
    )


def _load_joint_predictor(config: Mapping[str, Any], path: Path, request: ModelRequest) -> LoadedPredictor:
    """A model of video and action, as main.py trained or published it."""
    ignored = ("config", "resolution", "first_stage", "tiny_decoder", "compile", "precision")
    for name in ignored:
        if getattr(request, name) not in (None, False):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: a model of video and action predicts as it was trained; leave it out.")
    if request.engine != ENGINES[0]:
        raise UserError(
            f"--engine {request.engine}: a model of video and action has no form in ONNX yet; leave it out."
        )
    run = load_trained(request.ckpt)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    predictor = JointPredictor(run.model.to(device), dict(request.sampling))
    return LoadedPredictor(predictor, request.ckpt, run.digest, Runtime())


LOADERS: dict[type, Callable[[Mapping[str, Any], Path, ModelRequest], LoadedPredictor]] = {
    LatentDiffusion: _load_frame_predictor,
    JointVideoAction: _load_joint_predictor,
}


def digest_of_weights(path: Path) -> str:
    """SHA-256 of a file; of a run folder, of its last checkpoint; of another folder, of its weights' digests."""
    last = RunFolder(path).checkpoints / "last.ckpt"
    if last.is_file():
        return sha256_of_file(last)
    if path.is_dir():
        files = sorted(path.rglob("*.safetensors")) or sorted(path.rglob("*.bin"))
        return hashlib.sha256("".join(sha256_of_file(file) for file in files).encode()).hexdigest()
    return sha256_of_file(path)


class TinyDecodedStage(nn.Module):
    """A first stage with another decoder.

    Args:
        first_stage: encodes.
        decoder: has `decode` from unscaled latents.
    """

    def __init__(self, first_stage: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.first_stage = first_stage
        self.decoder = decoder
        self.downsampling_factor = first_stage.downsampling_factor
        self.latent_channels = first_stage.latent_channels

    @property
    def encoder(self) -> nn.Module | None:
        """The part of the first stage that is compiled beside the decoder; None where it has none."""
        return getattr(self.first_stage, "encoder", None)

    def encode(self, frame: Tensor) -> DiagonalGaussianDistribution | DeltaDistribution:
        """Distribution of the latent of frames (B, 3, H, W) in [-1, 1]."""
        return self.first_stage.encode(frame)

    def decode(self, latent: Tensor) -> Tensor:
        """Frames (B, 3, H, W), about [-1, 1], of unscaled latents."""
        return self.decoder.decode(latent)


def use_tiny_decoder(model: LatentDiffusion, path: Path) -> None:
    """Give a model the tiny decoder of a file.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if the file holds no tiny decoder, or the model's latents are not of its kind.
    """
    decoder, first_stage = load_tiny_decoder(path, model.scale_factor), model.first_stage_model
    kinds = [(part.latent_channels, part.downsampling_factor) for part in (decoder, first_stage)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"the tiny decoder {path} wants latents of {kinds[0][0]} channels at 1/{kinds[0][1]} of the frame's size, "
            f"this model's have {kinds[1][0]} at 1/{kinds[1][1]}; leave the tiny decoder out."
        )
    model.first_stage_model = TinyDecodedStage(first_stage, decoder)
