"""The numbers that the network is told of each sample: the seconds ahead and, with a foresight, the states then."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.data.batch import CachedBatch, FrameBatch
from ldm.models.diffusion.conditioning import TrainingDraws
from ldm.modules.basic import timestep_embedding
from ldm.modules.foresight import Foreseen, Foresight

# Radians a second of the fastest sinusoid: frames 0.2 s apart differ, and what lies between is even.
SECONDS_RATE = 10.0


@dataclass(frozen=True)
class VectorConditioning:
    """Makes `Conditioning.vector` (B, width) of a batch, `adm_in_channels` of the network.

    Args:
        channels: sinusoids of the seconds ahead; 0: the network is not told.
        foresight: foresees the states; None where the network has no such part.
        decode: latent of source frames (B, C, h, w) => the frames (B, 3, H, W), which a foresight looks at.
    """

    channels: int
    foresight: Foresight | None
    decode: Callable[[Tensor], Tensor]

    @property
    def width(self) -> int:
        """Numbers of the vector."""
        return self.channels + (self.foresight.width if self.foresight is not None else 0)

    def check(self, takes: int) -> None:
        """Refuse a network that takes `takes` numbers where others are told.

        Raises:
            UserError: says how many it has to take.
        """
        if takes != self.width or (self.foresight is not None and not self.channels):
            raise UserError(
                f"unet_config: adm_in_channels is {takes}, and {self.width} numbers are told: horizon_channels "
                f"{self.channels} and, with a foresight, two for each number of its state; give {self.width}, and "
                "horizon_channels to a model with a foresight."
            )

    def foresee(self, context: Tensor, text: Tensor, seconds: Tensor) -> tuple[Tensor, Foreseen | None]:
        """The seconds ahead as the network takes them (B, channels), and where things will be then.

        Args:
            context: (B, C, h, w) latent of the source frame.
            text: (B, L, D) embedded sentences.
            seconds: (B,) ahead.
        """
        ahead = timestep_embedding(SECONDS_RATE * seconds, self.channels)
        if self.foresight is None:
            return ahead, None
        number = next(self.foresight.parameters()).dtype
        return ahead, self.foresight(self.decode(context).to(number), text.mean(dim=1).to(number), ahead.to(number))

    def for_prediction(
        self, context: Tensor, text: Tensor, seconds: Tensor | None, generators: list[torch.Generator] | None = None
    ) -> Tensor | None:
        """The vector of a batch that is predicted; None for a network that takes none.

        Args:
            context, text: see `foresee`.
            seconds: (B,) ahead.
            generators: one a sample, to draw where things will be; None takes the mean.

        Raises:
            UserError: if the model takes seconds and there are none.
        """
        if not self.channels:
            return None
        if seconds is None:
            raise UserError(
                "this model takes the seconds ahead as an input, and none are told: predict with --seconds, train on "
                "pairs whose frame rate is known (prepare_dataset --save-freq)."
            )
        ahead, foreseen = self.foresee(context, text, seconds.to(context.device))
        if foreseen is None:
            return ahead
        drawn = generators is not None
        told = self.foresight.tell_sure(foreseen.draw(generators)) if drawn else self.foresight.tell(foreseen)
        return torch.cat([ahead, told.to(ahead)], dim=1)

    def for_training(
        self,
        context: Tensor,
        text: Tensor,
        batch: FrameBatch | CachedBatch,
        draws: TrainingDraws,
        *,
        teach: bool,
    ) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """The vector of a batch and, where a foresight is taught, the losses of what was foreseen.

        Args:
            context, text: see `foresee`.
            batch: whose seconds and, where known, states these are.
            draws: of the batch.
            teach: tell some samples their true future, see Foresight.teach; without, as in prediction.
        """
        if self.foresight is None or "state" not in batch or not teach:
            return self.for_prediction(context, text, batch.get("seconds")), {}
        ahead, foreseen = self.foresee(context, text, batch["seconds"])
        coins = torch.stack([torch.rand((), generator=g) for g in draws.generators]).to(ahead)
        told = self.foresight.teach(foreseen, batch["state"][:, 1], coins)
        return torch.cat([ahead, told.detach()], dim=1), self._state_losses(foreseen, text, batch)

    def _state_losses(self, foreseen: Foreseen, text: Tensor, batch: FrameBatch | CachedBatch) -> Mapping[str, Tensor]:
        """Losses () of a batch; its target frames teach to see, and its further moments to foresee.

        Further moments add their own means: what follows from a state takes many more examples than how it looks.
        """
        losses = foreseen.losses(batch["state"], batch["state_known"])
        if "target_frame" in batch:
            off = (self.foresight.see(batch["target_frame"]) - batch["state"][:, 1]) * batch["state_known"]
            losses["state_now"] = (losses["state_now"] + off.abs().mean()) / 2
        if "more_state" in batch:
            count = batch["more_state"].shape[1]
            state = batch["more_state"].flatten(0, 1)
            ahead = timestep_embedding(SECONDS_RATE * batch["more_seconds"].flatten(), self.channels)
            sentences = text.mean(dim=1).repeat_interleave(count, dim=0)
            more = self.foresight.foresee(state[:, 0], sentences, ahead)
            known = batch["state_known"].repeat_interleave(count, dim=0)
            losses |= {part: losses[part] + loss for part, loss in more.losses_then(state[:, 1], known).items()}
        return losses
