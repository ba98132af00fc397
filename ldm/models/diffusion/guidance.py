"""Two-way classifier-free guidance.

Source: InstructPix2Pix (arXiv 2211.09800), eq. 3. Layer 4: imports conditioning only; sees a callable, never a model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
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
    """

    denoise: ConditionalDenoise
    cond: Conditioning
    null: Conditioning
    text_scale: float
    image_scale: float

    def branches(self) -> list[tuple[float, Conditioning]]:
        """Weight and condition of each branch that counts: (frame, text), (frame), (none)."""
        frame_only = Conditioning(self.cond.concat, self.null.crossattn)
        weighted = [
            (self.text_scale, self.cond),
            (self.image_scale - self.text_scale, frame_only),
            (1.0 - self.image_scale, self.null),
        ]
        return [(weight, cond) for weight, cond in weighted if weight != 0.0]

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Guided noise estimate (B, C, H, W) for noisy latents and timesteps (B,)."""
        branches = self.branches()
        num = len(branches)
        cond = Conditioning.stack([cond for _, cond in branches])
        eps = self.denoise(torch.cat([x_t] * num), torch.cat([t] * num), cond)
        weights = torch.tensor([weight for weight, _ in branches], device=eps.device, dtype=eps.dtype)
        split = rearrange(eps, "(branch b) c h w -> branch b c h w", branch=num)
        return torch.einsum("n b c h w, n -> b c h w", split, weights)
