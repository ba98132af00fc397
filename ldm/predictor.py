"""FramePredictor: pictures and sentences in, pictures out; what the command line, the web page and benchmarks use.

Layer 6: the composition of a model, a sampler and guidance. Loading weights is the caller's act.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ldm.data.pixels import to_signed, to_uint8
from ldm.models.diffusion.conditioning import Conditioning
from ldm.models.diffusion.ddim import DDIMSampler, Spacing
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.models.diffusion.guidance import DualGuidance

SEED_RANGE = 2**63


@dataclass(frozen=True)
class SamplingOptions:
    """How a frame is drawn.

    Raises:
        ValueError: if a number makes no sense.
    """

    steps: int
    text_scale: float
    image_scale: float
    eta: float = 0.0
    spacing: Spacing = "trailing"

    def __post_init__(self) -> None:
        for name in ("text_scale", "image_scale"):
            value = getattr(self, name)
            if not 0.0 <= value <= 100.0:
                raise ValueError(f"{name} {value} is outside [0, 100]; 1 means no guidance.")


def seed_of(pair_id: str, seed: int) -> int:
    """Seed of one pair of a data set: depends on its name and the run's seed, not on its place in a batch."""
    digest = hashlib.sha256(f"{seed}/{pair_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEED_RANGE


class FramePredictor:
    """Predicts future frames with a model that has its weights.

    Keeps embedded instructions, so that a repeated sentence costs nothing.

    Args:
        model: in eval mode, on its device, with the weights that are to be used.
        resolution: side of the square frames that the model was trained on.
        options: how frames are drawn.
        progress: wraps the sampler's steps, to show a bar.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        resolution: int,
        options: SamplingOptions,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> None:
        self.model = model
        self.resolution = resolution
        self.options = options
        self.progress = progress
        self.sampler = DDIMSampler(model.schedule, options.steps, options.eta, options.spacing)
        self.guidance = partial(DualGuidance, text_scale=options.text_scale, image_scale=options.image_scale)
        self._embedded: dict[str, Tensor] = {}

    @torch.inference_mode()
    def predict(self, frames: Tensor, instructions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Future frames of current ones.

        Args:
            frames: (B, 3, H, W) uint8 RGB; H and W multiples of the first stage's factor.
            instructions: B sentences.
            seeds: B numbers; a prediction depends on its seed, not on the batch that it came in.

        Returns:
            (B, 3, H, W) uint8 RGB.

        Raises:
            ValueError: if the lengths differ or an instruction is empty.
        """
        if not len(frames) == len(instructions) == len(seeds):
            raise ValueError(
                f"{len(frames)} frames, {len(instructions)} instructions, {len(seeds)} seeds: pass as many of each."
            )
        empty = [i for i, sentence in enumerate(instructions) if not sentence.strip()]
        if empty:
            raise ValueError(f"instruction {empty[0]} is empty; say what the robot does, such as 'stack blocks'.")
        source = to_signed(frames.to(self.model.device))
        cond = Conditioning(self.model.encode_context(source), self._embed(instructions))
        null = Conditioning(torch.zeros_like(cond.concat), self._embed([""] * len(frames)))
        generators = [torch.Generator().manual_seed(int(seed) % SEED_RANGE) for seed in seeds]
        shape = self.model.latent_shape(source)
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(cond.concat)
        z = self.sampler.sample(self.guidance(self.model.predict_eps, cond, null), noise, generators, self.progress)
        return to_uint8(self.model.decode_first_stage(z, cond.concat))

    def _embed(self, instructions: Sequence[str]) -> Tensor:
        """Embedded sentences (B, L, D), each distinct one computed once."""
        new = [sentence for sentence in dict.fromkeys(instructions) if sentence not in self._embedded]
        if new:
            self._embedded.update(zip(new, self.model.encode_instruction(new), strict=True))
        return torch.stack([self._embedded[sentence] for sentence in instructions])
