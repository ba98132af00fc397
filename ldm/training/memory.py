"""How much memory a training step takes, before it is taken: one micro-batch is run on tensors without contents.

torch's FakeTensorMode runs forward and backward by shapes alone, with autocast and activation checkpointing as in
training; a dispatch mode sums the storages that live at one time.
"""

import warnings
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ldm.models.diffusion.conditioning import Conditioning
from ldm.models.trained_model import TrainedModel
from ldm.modules.encoders.modules import CLIP_TOKENS

HALF = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}  # autocast's type by Lightning's precision
LATE = 1 << 40  # an optimiser step at which every term of the loss has begun


class FakeTensors(FakeTensorMode):
    """Tensors without contents that stay in the same mode when a module copies itself."""

    def __deepcopy__(self, memo: dict) -> "FakeTensors":
        return self


class LiveStorages(TorchDispatchMode):
    """Sums the bytes of storages made inside it that are alive at one time, and keeps the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run one operation and count what it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.now -= size


def estimate_memory(
    make_model: Callable[[], TrainedModel], batch_size: int, resolution: int, precision: str, processes: int
) -> dict[str, int]:
    """Bytes of one GPU in the parts that a training step needs, at its peak.

    Not counted: CUDA's context, the workspaces of its libraries, and gaps between blocks.

    Args:
        make_model: builds the model; called where tensors have no contents.
        batch_size: of a micro-batch.
        resolution: side of the frames, in pixels.
        precision: Lightning's.
        processes: of the whole run; more than one keep the gradients a second time, in the buckets that they exchange.
    """
    with FakeTensors(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # torch's own, copying weights
        live = LiveStorages()
        with live:
            model = make_model().train()
            trained = model.trained_parameters()
            for parameter in trained:
                parameter.grad = torch.empty_like(parameter)
        resting = live.peak = live.now  # weights, of frozen networks too, their average, gradients
        half = HALF.get(precision)
        with live, torch.autocast("cpu", half) if half else nullcontext():
            loss = _loss(model, batch_size, resolution)
        with live:
            loss.backward()
    gradients = sum(p.numel() * p.element_size() for p in trained)
    average = model.model_ema.parameters() if model.model_ema is not None else ()
    averaged = sum(p.numel() * p.element_size() for p in average)
    return {
        "weights": resting - gradients - averaged,
        "average of the weights": averaged,
        "gradients": gradients,
        "optimiser": 2 * sum(p.numel() for p in trained) * model.optimizer_bits // 8,
        "buckets of DDP": gradients if processes > 1 else 0,
        "activations": live.peak - resting,
    }


def _loss(model: TrainedModel, batch_size: int, resolution: int) -> Tensor:
    """The training loss () of frames and conditions without contents."""
    frames = torch.empty(batch_size, 3, resolution, resolution)
    if not hasattr(model, "p_losses"):
        parts = model.reconstruction_loss(torch.cat([frames, frames]), None)
        return parts["reconstruction"] + parts.get("kl", 0.0)
    latent, context = model.encode_first_stage(frames), model.encode_context(frames)
    widths = (layer.in_features for name, layer in model.model.named_modules() if name.endswith(".attn2.to_k"))
    text = torch.empty(batch_size, CLIP_TOKENS, next(widths, 1))
    t = torch.zeros(batch_size, dtype=torch.int64)
    told = getattr(model.model.diffusion_model, "adm_in_channels", None)
    vector = None if told is None else torch.empty(batch_size, told)
    neighbours = 2 * getattr(model.model.diffusion_model, "neighbours", 0)
    retrieved = torch.cat([context] * neighbours, dim=1) if neighbours else None

    def terms(start: Tensor) -> Any:
        loss = model.frame_loss
        if loss.semantic is not None and loss.semantic.clip is not None:  # sentences need no tokenizer to have a size
            loss.semantic.clip.tokenize = lambda said: torch.zeros(len(said), CLIP_TOKENS, dtype=torch.int64)
        rows = batch_size if loss.mode == "exact" else ceil(loss.share * batch_size)
        decode = loss.tiny_decoder.network.decode if loss.tiny_decoder is not None else model.first_stage_model.decode
        prediction = decode(start[:rows] / model.scale_factor)
        return loss.compare(prediction, frames[:rows], frames[:rows], ["x"] * rows, LATE)

    return model.p_losses(
        latent,
        Conditioning(context, text, vector, retrieved=retrieved),
        t,
        torch.empty_like(latent),
        terms if model.frame_loss is not None else None,
    ).loss
