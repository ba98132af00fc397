"""Two-way classifier-free guidance.

Source: InstructPix2Pix (arXiv 2211.09800), eq. 3; limited interval: arXiv 2404.07724; rescale: arXiv 2305.08891,
section 3.4. Sees a callable, never a model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from einops import rearrange, repeat
from torch import Tensor

from ldm.models.diffusion.conditioning import Conditioning

ConditionalDenoise = Callable[[Tensor, Tensor, Conditioning], Tensor]  # (x_t, t, cond) -> eps


@dataclass(frozen=True)
class DualGuidance:
    """Turns a conditional denoiser into a plain one, (x_t, t) -> eps, so that samplers never hear of conditions.

    e = e(none) + s_I (e(frame) - e(none)) + s_T (e(frame, text) - e(frame)), computed as a weighted sum of the
    three branches in one network call. A branch whose weight is zero is not computed: scales (text 1, frame 1)
    cost one branch, frame scale 1 costs two.

    Args:
        denoise: the conditional denoiser.
        cond: conditions of B samples.
        null: the same without frame and text.
        text_scale: s_T.
        image_scale: s_I.
        interval: guide at timesteps of [low, high] only, elsewhere take the full branch alone; None guides always.
        rescale: 0 to 1, how far the deviation of each sample is brought back to the full branch's.
    """

    denoise: ConditionalDenoise
    cond: Conditioning
    null: Conditioning
    text_scale: float
    image_scale: float
    interval: tuple[float, float] | None = None
    rescale: float = 0.0

    def branches(self) -> list[tuple[float, Conditioning]]:
        """Weight and condition of each branch that counts: (frame, text), (frame), (none)."""
        frame_only = replace(self.cond, crossattn=self.null.crossattn)
        weighted = [
            (self.text_scale, self.cond),
            (self.image_scale - self.text_scale, frame_only),
            (1.0 - self.image_scale, self.null),
        ]
        needed = self.cond if self.rescale > 0.0 else None
        return [(weight, cond) for weight, cond in weighted if weight != 0.0 or cond is needed]

    @cached_property
    def _stacked(self) -> tuple[list[float], Conditioning]:
        """Weights, and conditions of all branches after one another; made once for all steps."""
        branches = self.branches()
        return [weight for weight, _ in branches], Conditioning.stack([cond for _, cond in branches])

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Guided noise estimate (B, ...) for noisy latents of any rank and timesteps (B,)."""
        if self.interval is not None and not self.interval[0] <= float(t[0]) <= self.interval[1]:
            return self.denoise(x_t, t, self.cond)
        weights, cond = self._stacked
        num = len(weights)
        eps = self.denoise(repeat(x_t, "b ... -> (n b) ...", n=num), repeat(t, "b -> (n b)", n=num), cond)
        split = rearrange(eps, "(branch b) ... -> branch b ...", branch=num)
        guided = sum(weight * branch for weight, branch in zip(weights, split, strict=True))
        return guided if self.rescale == 0.0 else self._rescaled(guided, split[0])

    def _rescaled(self, guided: Tensor, full: Tensor) -> Tensor:
        """arXiv 2305.08891, eq. 15 and 16, on the noise estimate, as diffusers has it."""
        inner = tuple(range(1, full.ndim))
        ratio = full.std(dim=inner, keepdim=True) / guided.std(dim=inner, keepdim=True)
        return self.rescale * ratio * guided + (1.0 - self.rescale) * guided
