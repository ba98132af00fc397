"""An adversary: a PatchGAN discriminator with its own optimiser.

Source: pix2pix (arXiv 1611.07004), appendix 6.1.2; taming-transformers' NLayerDiscriminator, whose architecture and key
names are kept; hinge loss: arXiv 1705.02894, eq. 11.

The discriminator steps beside the model's optimiser and not through Lightning. There, two optimisers mean manual
optimisation, which gives up what a run's config says: Lightning refuses `accumulate_grad_batches` and
`gradient_clip_val` then, and every optimiser's step counts as one of `max_steps`, so that checkpoints, pictures and
the end come twice as early. Here the model keeps automatic optimisation: `accumulate` is called after its backward pass
and `step` after its step. So for the discriminator
- accumulation is the model's: each micro-batch adds its share, one step is made for one of the model's;
- clipping is not: the clipped norm is of the model's gradient alone, and Adam bounds the adversary's steps;
- fp16 needs no scaler: its own pass runs outside autocast, in fp32, on the pictures that the model made;
- a resume is exact: its weights are in the state dict, its moments beside it, see ldm.models.trained_model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commands.errors import UserError

LEAK = 0.2  # slope of the leaky ReLU; DCGAN
INITIAL_STD = 0.02  # of convolutions and normalisation; pix2pix
BETAS = (0.5, 0.9)  # of Adam; taming-transformers


class NLayerDiscriminator(nn.Module):
    """Judges overlapping patches of a picture: high where it looks real.

    Args:
        ndf: channels of the first layer.
        n_layers: layers of stride 2.
    """

    def __init__(self, ndf: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        width = ndf
        for n in range(1, n_layers + 1):
            wider = ndf * min(2**n, 8)
            stride = 2 if n < n_layers else 1
            layers += [nn.Conv2d(width, wider, 4, stride, padding=1, bias=False), nn.BatchNorm2d(wider)]
            layers.append(nn.LeakyReLU(LEAK))
            width = wider
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, stride=1, padding=1))
        self.min_side = 2 ** (n_layers + 1)
        for layer in self.main:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0.0, INITIAL_STD)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0, INITIAL_STD)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] => (B, 1, h, w) judgements without bound."""
        if min(frame.shape[-2:]) < 2 * self.min_side:
            raise UserError(
                f"the discriminator sees pictures of {frame.shape[-1]}x{frame.shape[-2]}: wanted at least "
                f"{2 * self.min_side} pixels a side; raise resolution or crop, or lower n_layers."
            )
        return self.main(frame)


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of the discriminator from its judgements: real above 1 and fake below -1 cost nothing."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())


class Adversary(nn.Module):
    """Discriminator, its optimiser, and the pictures that it learns from next.

    Args:
        learning_rate: of the discriminator's Adam.
        start_step: optimiser step of the model at which the adversary begins to learn and to count.
        warm_steps: steps over which its weight rises from 0 to 1 after that.
        ndf, n_layers: see NLayerDiscriminator.
    """

    def __init__(
        self, learning_rate: float, start_step: int, warm_steps: int, ndf: int = 64, n_layers: int = 3
    ) -> None:
        super().__init__()
        # Without requires_grad, DDP leaves its parameters alone; `accumulate` turns it on for its own backward.
        self.discriminator = NLayerDiscriminator(ndf, n_layers).requires_grad_(False)
        self.start_step = start_step
        self.warm_steps = warm_steps
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=learning_rate, betas=BETAS)
        self._shown: tuple[Tensor, Tensor] | None = None

    def weight(self, step: int) -> float:
        """Share of the adversarial weight at an optimiser step: 0, then rising linearly, then 1."""
        if step < self.start_step:
            return 0.0
        return min(1.0, (step - self.start_step + 1) / max(1, self.warm_steps))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """() loss of the model: predictions should look real. Keeps both pictures for `accumulate`."""
        self._shown = (prediction.detach(), target.detach())
        return -self.discriminator(prediction).mean()

    def accumulate(self, share: float) -> Tensor | None:
        """Add the discriminator's gradient on the pictures last shown.

        Args:
            share: of this micro-batch in the optimiser step.

        Returns:
            () its loss, or None where nothing was shown.
        """
        if self._shown is None:
            return None
        fake, real = (frame.float() for frame in self._shown)
        self._shown = None
        self.discriminator.requires_grad_(True)
        with torch.enable_grad():
            loss = hinge_loss(self.discriminator(real), self.discriminator(fake))
            (loss * share).backward()
        self.discriminator.requires_grad_(False)
        return loss.detach()

    def step(self) -> None:
        """Move the discriminator by the accumulated gradient, averaged over processes; nothing where there is none."""
        gradients = [p.grad for p in self.discriminator.parameters() if p.grad is not None]
        if not gradients:
            return
        _average_over_processes(gradients)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _average_over_processes(tensors: Sequence[Tensor]) -> None:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    for tensor in tensors:
        torch.distributed.all_reduce(tensor)
        tensor.div_(torch.distributed.get_world_size())
