"""The semantic constraint of `morpheus`: a prediction shows its instruction, and what does not move stays as it was.

The paper names this loss and gives no formula; this one is ours. With p a decoded prediction, s its source frame, y its
target, c its instruction, C the set of known instructions, E_I and E_T CLIP's unit vectors, tau CLIP's logit scale:

    L      = lambda_text * L_text + lambda_keep * L_keep
    L_text = - log softmax over c' in C of (tau <E_I(p), E_T(c')>), at c' = c      (CLIP, arXiv 2103.00020, figure 3)
    L_keep = sum of |p - s| (1 - M) / max(1, sum of (1 - M)),   M = [max over colours of |y - s| > threshold], grown by
             `margin` pixels: the motion mask, all pixels in [-1, 1].

CLIP comes as a node of the config.
"""

import logging
from collections.abc import Mapping, Sequence

import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional as F

from commands.errors import UserError
from ldm.util import instantiate_from_config

log = logging.getLogger(__name__)


def moved_region(source: Tensor, target: Tensor, threshold: float, margin: int) -> Tensor:
    """(B, 1, H, W) 1 where source and target (B, 3, H, W) differ by more than `threshold`, or near such a place."""
    moved = (reduce((target - source).abs(), "b c h w -> b 1 h w", "max") > threshold).float()
    return F.max_pool2d(moved, 2 * margin + 1, stride=1, padding=margin)


def preservation(prediction: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean difference of prediction and source outside the mask (B, 1, H, W); 0 where everything moves."""
    still = 1.0 - mask
    difference = reduce((prediction - source).abs(), "b c h w -> b 1 h w", "mean") * still
    return reduce(difference, "b 1 h w -> b", "sum") / reduce(still, "b 1 h w -> b", "sum").clamp(min=1.0)


def agreement(pictures: Tensor, texts: Tensor, own: Tensor, scale: float) -> Tensor:
    """(B,) cross-entropy of each picture's own sentence among all.

    Args:
        pictures: (B, D) unit vectors.
        texts: (N, D) unit vectors of distinct sentences.
        own: (B,) int64 index of each picture's sentence.
        scale: of the cosines.
    """
    return F.cross_entropy(scale * pictures @ texts.T, own, reduction="none")


class SemanticConstraint(nn.Module):
    """The loss above; see the module's docstring for its formula.

    Args:
        lambda_text, lambda_keep: weights of the two terms; 0 switches a term off.
        threshold, margin: of the motion mask; in units of [-1, 1], and in pixels.
        instructions: sentences that each prediction must be told from, beside those of its batch.
        clip_config: node with `embed_pictures`, `embed_sentences`, `logit_scale`, `load_weights`; null with
            lambda_text 0.
    """

    def __init__(
        self,
        lambda_text: float,
        lambda_keep: float,
        threshold: float,
        margin: int,
        instructions: Sequence[str] = (),
        clip_config: Mapping | None = None,
    ) -> None:
        super().__init__()
        if lambda_text and clip_config is None:
            raise UserError("semantic_config: lambda_text needs clip_config; set lambda_text: 0 to go without CLIP.")
        self.lambda_text = lambda_text
        self.lambda_keep = lambda_keep
        self.threshold = threshold
        self.margin = margin
        self.instructions = list(instructions)
        self.clip = instantiate_from_config(clip_config, "semantic_config.params.clip_config") if lambda_text else None

    def forward(
        self, prediction: Tensor, source: Tensor, target: Tensor, instruction: Sequence[str]
    ) -> dict[str, Tensor]:
        """Weighted terms () by name, of pictures (B, 3, H, W) in [-1, 1]."""
        terms = {}
        if self.lambda_text:
            sentences = list(dict.fromkeys([*self.instructions, *instruction]))
            own = torch.tensor([sentences.index(sentence) for sentence in instruction], device=prediction.device)
            texts = self.clip.embed_sentences(sentences)
            losses = agreement(self.clip.embed_pictures(prediction), texts, own, self.clip.logit_scale)
            terms["semantic_text"] = self.lambda_text * losses.mean()
        if self.lambda_keep:
            mask = moved_region(source, target, self.threshold, self.margin)
            terms["semantic_keep"] = self.lambda_keep * preservation(prediction, source, mask).mean()
        return terms
