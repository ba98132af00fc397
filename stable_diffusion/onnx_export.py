"""A model's three networks as ONNX files, for runtimes without PyTorch.

    unet.onnx                  x_t (B, C, H/f, W/f), t (B,) int64, context (B, L, D)  => eps, shape of the latent
    first_stage_encoder.onnx   frame (B, 3, H, W) in [-1, 1]                           => mode of the posterior
    first_stage_decoder.onnx   z (B, C, H/f, W/f), unscaled                            => frame
    text_encoder.onnx          tokens (B, L) int64                                     => context
    model.json                 opset, resolution, schedule, scale factor, sampling: what the networks do not say

The batch is dynamic, the resolution is not. The one place that imports onnx and onnxruntime, which the extra `onnx`
installs. Steps, guidance and tokens stay the caller's.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commands.errors import MissingPackageError, UserError
from formats.atomic import draft_folder, write_json
from stable_diffusion.tensor_files import check_room

OPSET = 18
TOLERANCE = 1e-4  # of the largest value of an output: ONNX Runtime against PyTorch
BATCHES = (1, 3)  # that each file is tried with


@dataclass(frozen=True)
class Traced:
    """One network, inputs to trace it with, and the names of its inputs and its output."""

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]
    output: str


class _Method(nn.Module):
    """One method of a network, as a network of its own that can be traced."""

    def __init__(self, network: nn.Module, method: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, x: Tensor) -> Tensor:
        return self.method(x)


def import_runtime(asked: str = "--layout onnx") -> Any:
    """onnxruntime, with onnx and the exporter's onnxscript beside it.

    Args:
        asked: the flag that wants it, for the message.

    Raises:
        MissingPackageError: if one of them is not installed.
    """
    try:
        import onnx  # noqa: F401 - torch.onnx imports it itself
        import onnxruntime
        import onnxscript  # noqa: F401 - the same
    except ImportError as error:
        raise MissingPackageError(f"{asked} needs {error.name}; install it with: pip install -e .[onnx]") from None
    return onnxruntime


def parts_of(model: nn.Module, resolution: int, batch: int) -> list[Traced]:
    """The networks of a LatentDiffusion, with random inputs of a batch.

    Raises:
        UserError: if the text encoder takes no tokens.
    """
    if not hasattr(model.cond_stage_model, "encode_tokens"):
        raise UserError(
            f"{type(model.cond_stage_model).__name__} has no form in ONNX; give a model with CLIP or bytes."
        )
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    frame = normal(3, resolution, resolution).clamp(-1.0, 1.0)
    channels, height, width = model.latent_shape(frame[0])
    tokens = model.cond_stage_model.tokenize(["stack the blocks"] * batch)
    context = model.cond_stage_model.encode_tokens(tokens)
    first_stage, text_encoder = model.first_stage_model, model.cond_stage_model
    x_t = normal(model.model.diffusion_model.in_channels, height, width)
    t = torch.randint(model.schedule.timesteps, (batch,), generator=generator)
    return [
        Traced("unet", model.model.diffusion_model, {"x_t": x_t, "t": t, "context": context}, "eps"),
        Traced(
            "first_stage_encoder",
            _Method(first_stage, lambda frame: first_stage.encode(frame).mode()),
            {"frame": frame},
            "latent",
        ),
        Traced(
            "first_stage_decoder",
            _Method(first_stage, first_stage.decode),
            {"z": normal(channels, height, width)},
            "frame",
        ),
        Traced("text_encoder", _Method(text_encoder, text_encoder.encode_tokens), {"tokens": tokens}, "context"),
    ]


@torch.no_grad()
def write_onnx(folder: Path, model: nn.Module, config: Mapping[str, Any], progress: Any = iter) -> dict[str, float]:
    """Write the networks and what a caller needs beside them; the folder appears whole or not at all.

    Args:
        folder: must not exist, or be empty.
        model: a LatentDiffusion in eval mode on the CPU.
        config: the config that it was built from: resolution, sampling, model.
        progress: wraps the parts, to show a bar.

    Returns:
        Name of each part => largest difference between ONNX Runtime and PyTorch, relative to the largest value.

    Raises:
        UserError: if the folder is taken, or an output differs by more than TOLERANCE.
    """
    import_runtime()
    resolution = int(config["resolution"])
    differences = {}
    with draft_folder(folder) as draft:
        check_room(folder, sum(p.numel() * p.element_size() for p in model.parameters()))
        trials = [parts_of(model, resolution, batch) for batch in BATCHES]
        for one, more in progress(list(zip(*trials, strict=True))):
            path = draft / f"{one.name}.onnx"
            _export(more, path)
            differences[one.name] = max(_difference(path, part) for part in (one, more))
        wrong = {part: found for part, found in differences.items() if not found <= TOLERANCE}
        if wrong:
            raise UserError(
                f"ONNX Runtime differs from PyTorch by {wrong}, at most {TOLERANCE} is allowed; not written."
            )
        facts = {
            "opset": OPSET,
            "resolution": resolution,
            "differences": differences,
            "sampling": config.get("sampling"),
        }
        params = {k: v for k, v in config["model"]["params"].items() if not isinstance(v, Mapping | list)}
        write_json(draft / "model.json", facts | {"model": params})
    return differences


@contextmanager
def _for_export() -> Iterator[None]:
    """Without PyTorch's fused transformer layer, which has no form in ONNX, and without the exporter's remarks."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
        logging.disable(logging.NOTSET)


def _export(part: Traced, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=1024)
    with _for_export():
        torch.onnx.export(
            part.network.eval(),
            tuple(part.inputs.values()),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=[part.output],
            dynamic_shapes=tuple({0: batch} for _ in part.inputs),
            verbose=False,
        )


def open_session(path: Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A network in ONNX Runtime: from its inputs by name to its output, on as many threads as PyTorch takes.

    Inputs that the network makes nothing of are no longer in the file, and are passed over.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = {one.name for one in session.get_inputs()}

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        given = {name: value.numpy() for name, value in inputs.items() if name in taken}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def _difference(path: Path, part: Traced) -> float:
    found = open_session(path)(part.inputs)
    wanted = part.network(*part.inputs.values())
    return ((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)).item()
