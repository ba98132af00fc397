"""The training steps of this project that are timed: from cached latents, and the papers' plain recipe.

Each makes one optimiser step over the same pairs, reading them included, and counts how often it calls each network.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from benchmark.measuring import count_calls, seconds_of
from benchmark.workload import Bench, read_size
from ldm.training.build import build_trained_model
from ldm.util import instantiate_from_config

GRADIENT = "gradient.pt"  # what two processes leave


def image_loss(mode: str = "exact", **params: Any) -> dict:
    """Node of the image loss of image_loss.yaml with another mode or further parameters of FrameLoss."""
    node = read_size("full", "image_loss")["model"]["params"]["frame_loss_config"]
    return node | {"params": node["params"] | {"mode": mode, **params}}


def tiny_decoder(scale_factor: float, weights: str | None = None) -> dict:
    """Node of a TinyDecoder; without weights it can be counted and timed, not compared."""
    params = {"scale_factor": scale_factor, "weights": weights}
    return {"target": "ldm.models.tiny_autoencoder.TinyDecoder", "params": params}


@dataclass(frozen=True)
class Recipe:
    """How one optimiser step is made.

    Args:
        row: of the table that it stands in, such as T2.
        what: its name there.
        micro_batch: pairs of a forward pass.
        pairs: of a step.
        cached: train from latents and embedded sentences that were made before; else from pictures.
        loss: parameters of FrameLoss for the image loss, or None for the loss on the noise alone.
        model: further parameters of the model, such as trainable_config.
        by_peer: by diffusers' loop.
    """

    row: str
    what: str
    micro_batch: int = 16
    pairs: int = 16
    cached: bool = True
    loss: Mapping[str, Any] | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    by_peer: bool = False

    @property
    def micro_batches(self) -> list[range]:
        """Rows of the pairs of each forward pass."""
        return [range(i, min(i + self.micro_batch, self.pairs)) for i in range(0, self.pairs, self.micro_batch)]


class OurStep:
    """A step of this project's model by a recipe, on the device, in the precision and over the pairs of a bench."""

    def __init__(self, bench: Bench, recipe: Recipe) -> None:
        torch.manual_seed(0)
        self.bench, self.recipe = bench, recipe
        loss = image_loss(**recipe.loss) if recipe.loss is not None else None
        node = bench.config["model"]
        node = node | {"params": {**node["params"], "frame_loss_config": loss, **recipe.model}}
        self.model = build_trained_model(node).to(bench.device).train()
        fill_losses(self.model)
        data = bench.cached_node(self.model, frames=loss is not None) if recipe.cached else bench.node
        self.dataset = instantiate_from_config(data, "data")
        self.model.configure_model()
        self.optimizer = self.model.configure_optimizers()["optimizer"]
        self.scaler = bench.scaler()
        self.parameters = sum(p.numel() for p in self.model.trained_parameters())
        self.calls: Counter = Counter()
        coder = self.model.first_stage_model
        networks = {"U-Net": self.model.model, "VAE encoder": coder.encoder, "VAE decoder": coder.decoder}
        count_calls(networks | {"text encoder": self.model.cond_stage_model}, self.calls)

    def data(self) -> list[dict[str, Any]]:
        """All micro-batches, read and on the device."""
        return [self.bench.read(self.dataset, rows) for rows in self.recipe.micro_batches]

    def encode(self, batches: list[dict[str, Any]]) -> list[tuple]:
        """Draws, latents and conditions of all micro-batches."""
        made = []
        with self.bench.autocast():
            for batch in batches:
                draws = self.model.draw(batch)
                made.append((batch, draws, *self.model.get_input(batch, draws, self.model.conditioning_dropout)))
        return made

    def _terms(self, batch: Mapping, draws: Any) -> Callable[[Tensor], Any]:
        return lambda start: self.model.frame_terms(start, draws.t, batch, draws.generators[0])

    def learn(self, encoded: list[tuple], *, with_hooks: bool = True) -> float:
        """Forward and backward passes of all micro-batches; the mean loss."""
        total = 0.0
        for batch, draws, x_start, cond in encoded:
            hook = self._terms(batch, draws) if with_hooks and self.model.frame_loss is not None else None
            with self.bench.autocast():
                loss = self.model.p_losses(x_start, cond, draws.t, draws.eps, hook).loss / len(encoded)
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        return total

    def run_hooks(self, encoded: list[tuple]) -> None:
        """The loss hooks alone: forward pass from a clean latent, and backward pass to it."""
        for batch, draws, x_start, _ in encoded:
            start = x_start.detach().float().requires_grad_(True)
            with self.bench.autocast():
                total = self._terms(batch, draws)(start).total
            total.backward()

    def optimise(self) -> None:
        """Move the weights; the gradients stay."""
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def advance(self) -> float:
        """Read, encode, learn and move the weights; the gradients stay. The mean loss."""
        loss = self.learn(self.encode(self.data()))
        self.optimise()
        return loss

    def step(self) -> float:
        """One optimiser step, its calls counted; the mean loss."""
        self.calls.clear()
        loss = self.advance()
        self.optimizer.zero_grad()
        return loss

    def parts(self) -> dict[str, Callable[[], object]]:
        """Pieces of the step that can be timed alone, in its order: the optimiser needs the gradients before it."""
        batches = self.data()
        encoded = self.encode(batches)
        parts: dict[str, Callable[[], object]] = {
            "data": self.data,
            "encode": lambda: self.encode(batches),
            "U-Net": lambda: self.learn(encoded, with_hooks=False),
        }
        if self.model.frame_loss is not None:
            parts["loss hooks"] = lambda: self.run_hooks(encoded)
        return parts | {"optimiser": self.optimise}


def fill_losses(model: Any) -> None:
    """Random weights for the image loss's own networks; a tiny decoder keeps those that it was made with."""
    for module in model.frame_loss.modules() if model.frame_loss is not None else ():
        if module is not model.frame_loss and hasattr(module, "load_weights"):
            module.load_weights()


class _Loss(nn.Module):
    """The training loss as a module, which DistributedDataParallel wants."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> Tensor:
        draws = self.model.draw(batch)
        x_start, cond = self.model.get_input(batch, draws, self.model.conditioning_dropout)
        return self.model.p_losses(x_start, cond, draws.t, draws.eps, None).loss


def gradient_of_share(rank: int, world: int, size: str, folder: Path, pairs: int) -> tuple[Tensor, float]:
    """The gradient of the last layer after one of `world` processes' share of a step, and the step's seconds.

    With more than one process the gradient is their average, as DistributedDataParallel makes it. NCCL refuses two
    processes on one card, so with fewer cards than processes gloo carries the gradients.
    """
    cards = torch.cuda.device_count()
    device = torch.device("cuda", rank % cards) if cards else torch.device("cpu")
    torch.manual_seed(0)
    bench = Bench(read_size(size), device, folder, num_pairs=pairs)
    model = build_trained_model(bench.config["model"]).to(device).train()
    loss: nn.Module = _Loss(model)
    if world > 1:
        backend = "nccl" if cards >= world else "gloo"
        meet = (folder / f"meet{world}").as_uri()
        distributed.init_process_group(backend, init_method=meet, rank=rank, world_size=world)
        loss = nn.parallel.DistributedDataParallel(loss, device_ids=[device.index] if cards else None)
    batch = bench.read(instantiate_from_config(bench.node, "data"), range(rank, pairs, world))
    seconds = seconds_of(lambda: loss(batch).backward())
    last = [p for p in model.model.parameters() if p.requires_grad][-1]
    return last.grad.cpu(), seconds


def save_gradient(rank: int, world: int, size: str, folder: Path, pairs: int) -> None:
    """The same in a process of its own; the first one's answer is a file in the folder."""
    found = gradient_of_share(rank, world, size, folder, pairs)
    if rank == 0:
        torch.save(found, folder / GRADIENT)
    distributed.barrier()
