"""Exponential moving average of a network's weights.

Source: latent-diffusion's LitEma, with two changes: it advances once per optimiser step (the caller's duty), and
showing the average needs no backup copy. The names that published checkpoints give to the average are translated in
stable_diffusion.published_names.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from commands.errors import UserError


class LitEma(nn.Module):
    """Average of a model's parameters; buffers are copied.

    The decay warms up: min(decay, (1 + n) / (10 + n)) at the n-th update.

    Args:
        model: the network to average; the average starts as its copy.
        decay: weight of the old average in a step, in [0, 1].
    """

    num_updates: Tensor  # () int64

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        if not 0.0 <= decay <= 1.0:
            raise UserError(f"EMA decay {decay} is outside [0, 1].")
        self.decay = decay
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("num_updates", torch.tensor(0, dtype=torch.long))
        self._count: int | None = None  # num_updates as a Python number, so that a step does not wait for the GPU

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`; call once after each optimiser step."""
        self._count = (int(self.num_updates) if self._count is None else self._count) + 1
        self.num_updates.fill_(self._count)
        decay = min(self.decay, (1 + self._count) / (10 + self._count))
        pairs = zip(self.average.parameters(), model.parameters(), strict=True)
        trained = [(mean, new) for mean, new in pairs if new.requires_grad]
        if trained:
            means, news = zip(*trained, strict=True)
            torch._foreach_lerp_(list(means), [new.detach() for new in news], 1.0 - decay)
        for mean, new in zip(self.average.buffers(), model.buffers(), strict=True):
            mean.copy_(new)

    @torch.no_grad()
    def reset(self, model: nn.Module) -> None:
        """Begin again at the present weights of `model`, as after loading a checkpoint that has no average."""
        for mean, new in zip(self.average.parameters(), model.parameters(), strict=True):
            mean.copy_(new)
        for mean, new in zip(self.average.buffers(), model.buffers(), strict=True):
            mean.copy_(new)
        self._count = 0
        self.num_updates.fill_(0)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the parameters of `model` and the average in place, without copies; a second call undoes it."""
        for mean, shown in zip(self.average.parameters(), model.parameters(), strict=True):
            mean.data, shown.data = shown.data, mean.data

    @contextmanager
    def shown_by(self, model: nn.Module) -> Iterator[None]:
        """Inside the block `model` has the averaged weights; no copy is made and none is kept."""
        self.swap(model)
        try:
            yield
        finally:
            self.swap(model)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = None
