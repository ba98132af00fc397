"""Another engine than PyTorch for the networks of a prediction: ONNX Runtime, on the CPU.

U-Net and text encoder are written as ONNX once (stable_diffusion.onnx_export, which compares them with PyTorch) and
kept beside other caches, named by their weights. Sampler, guidance and first stage stay PyTorch's.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from commands.errors import UserError
from formats.cache import default_cache_folder
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.modules.attention import ProjectedContext
from stable_diffusion.onnx_export import import_runtime, open_session, write_onnx

log = logging.getLogger(__name__)


class OnnxUNet(nn.Module):
    """A U-Net in ONNX Runtime, called as UNetModel is.

    Args:
        path: unet.onnx.
        network: the U-Net that it was made of, for what models ask of theirs.
    """

    def __init__(self, path: Path, network: nn.Module) -> None:
        super().__init__()
        self.session = open_session(path)
        self.downsampling_factor = network.downsampling_factor

    def forward(self, x: Tensor, timesteps: Tensor, context: ProjectedContext) -> Tensor:
        """Output of the network (B, C, H, W); see UNetModel.forward and, for the context, project_context."""
        return self.session({"x_t": x, "t": timesteps.long(), "context": context[self]})


class OnnxTextEncoder(nn.Module):
    """A text encoder in ONNX Runtime.

    Args:
        path: text_encoder.onnx.
        encoder: that it was made of; makes tokens of sentences.
    """

    def __init__(self, path: Path, encoder: nn.Module) -> None:
        super().__init__()
        self.session = open_session(path)
        self.tokenize = encoder.tokenize

    def forward(self, text: list[str]) -> Tensor:
        """Embedded sentences (B, L, D)."""
        return self.session({"tokens": self.tokenize(text)})


def use_onnxruntime(model: LatentDiffusion, config: Mapping[str, Any], name: str, resolution: int) -> None:
    """Let ONNX Runtime compute the networks of a model.

    Args:
        model: with its weights, in eval mode, on the CPU.
        config: that it was built from.
        name: that its files are kept under, such as a hash of the weights.
        resolution: side of the frames, in pixels: an ONNX file knows one.

    Raises:
        MissingPackageError: if onnxruntime is not installed.
        UserError: if the model has no form in ONNX.
    """
    import_runtime("--engine onnxruntime")
    network = model.model.diffusion_model
    if getattr(network, "neighbours", 0) or getattr(network, "adm_in_channels", None):
        raise UserError(
            "--engine onnxruntime: this network takes neighbours or a vector beside its latents, which has no form in "
            "ONNX yet; leave --engine out."
        )
    parts = model.describe_parts()
    folder = default_cache_folder() / "onnx" / f"{name[:16]}-{resolution}"
    if not folder.is_dir():
        log.info("writing the networks for ONNX Runtime, once, into %s.", folder)
        write_onnx(folder, model, {**config, "resolution": resolution})
    model.model.diffusion_model = OnnxUNet(folder / "unet.onnx", network)
    model.cond_stage_model = OnnxTextEncoder(folder / "text_encoder.onnx", model.cond_stage_model)
    model.describe_parts = lambda: parts  # whose weights are in the files now
