"""CLIP's two towers, to judge whether a picture shows a sentence; differentiable in the picture.

Source: CLIP (arXiv 2103.00020), figure 3. The semantic constraint and the measure of metrics use the same towers;
weights come from a file or folder and are in no checkpoint of ours.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer

from commands.errors import MissingFileError, UserError
from ldm.data.pixels import signed_to_unit
from ldm.modules.encoders.modules import read_clip_tokenizer

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own, in [0, 1]
VIT_L_14 = {
    "projection_dim": 768,
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "projection_dim": 768,
    },
}


class ClipTowers(nn.Module):
    """Unit vectors of pictures and sentences in CLIP's common space.

    Args:
        weights: safetensors file of a transformers CLIPModel; None keeps the random initial weights, for tests.
        version: where the tokenizer is; see FrozenCLIPEmbedder.
        shape: entries of transformers' CLIPConfig; ViT-L/14's by default.
    """

    def __init__(self, weights: str | None, version: str = "openai/clip-vit-large-patch14", shape: dict | None = None):
        super().__init__()
        self.weights = weights
        self.version = version
        model = CLIPModel(CLIPConfig(**(shape or VIT_L_14))).eval().requires_grad_(False)
        self._hidden = (model,)  # a tuple keeps it out of state dicts, parameter lists and DDP
        self.side: int = model.config.vision_config.image_size
        self._tokenizer: CLIPTokenizer | None = None
        self._sentences: dict[tuple[str, ...], Tensor] = {}

    def load_weights(self) -> None:
        """Read the file.

        Raises:
            MissingFileError: with the command that fetches it.
        """
        if self.weights is None:
            return
        if not Path(self.weights).is_file():
            raise MissingFileError(
                f"the semantic constraint needs CLIP's weights, {self.weights} is absent.\n"
                "Fetch them with: python -m stable_diffusion.weights fetch clip-vit-large-patch14-weights"
            )
        missing, _ = self._hidden[0].load_state_dict(load_file(self.weights), strict=False)
        lost = [name for name in missing if not name.endswith("position_ids")]
        if lost:
            raise UserError(f"{self.weights} lacks {len(lost)} of CLIP's tensors, first {lost[0]}.")

    def _apply(self, fn: Callable, recurse: bool = True) -> "ClipTowers":
        self._hidden[0]._apply(fn)  # noqa: SLF001 - as nn.Module does for its children
        self._sentences.clear()
        return super()._apply(fn, recurse)

    @property
    def logit_scale(self) -> float:
        """Scale of cosines that CLIP was trained with, about 100."""
        return float(self._hidden[0].logit_scale.exp())

    def embed_pictures(self, frame: Tensor) -> Tensor:
        """(B, D) unit vectors of pictures (B, 3, H, W) in [-1, 1], resized to CLIP's square."""
        small = F.interpolate(
            signed_to_unit(frame), (self.side, self.side), mode="bicubic", antialias=True, align_corners=False
        )
        shift, scale = (torch.tensor(v, device=frame.device)[:, None, None] for v in (MEAN, DEVIATION))
        return picture_vectors(self._hidden[0], (small - shift) / scale)

    @torch.no_grad()
    def embed_sentences(self, sentences: Sequence[str]) -> Tensor:
        """(N, D) unit vectors of sentences; each list is embedded once."""
        key = tuple(sentences)
        if key not in self._sentences:
            self._sentences[key] = sentence_vectors(self._hidden[0], self.tokenize(sentences))
        return self._sentences[key]

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """(N, 77) token numbers, on the device of the weights."""
        if self._tokenizer is None:
            self._tokenizer = read_clip_tokenizer(self.version)
        length = self._hidden[0].config.text_config.max_position_embeddings
        encoded = self._tokenizer(
            list(sentences), truncation=True, max_length=length, padding="max_length", return_tensors="pt"
        )
        return encoded["input_ids"].to(self._hidden[0].logit_scale.device)


def read_clip(source: str) -> tuple[CLIPModel, CLIPProcessor]:
    """A frozen CLIP and its published preprocessing, from a folder or the local cache; never downloads.

    Raises:
        OSError: if there is no such model on this machine.
    """
    model = CLIPModel.from_pretrained(source, local_files_only=True).eval().requires_grad_(False)
    return model, CLIPProcessor.from_pretrained(source, local_files_only=True)


def picture_vectors(model: CLIPModel, pixel_values: Tensor) -> Tensor:
    """(B, D) unit vectors of normalised pictures (B, 3, S, S)."""
    return F.normalize(model.visual_projection(model.vision_model(pixel_values=pixel_values).pooler_output).float())


def sentence_vectors(model: CLIPModel, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """(N, D) unit vectors of token numbers (N, L); `mask` is 0 at padding."""
    pooled = model.text_model(input_ids=tokens, attention_mask=mask).pooler_output
    return F.normalize(model.text_projection(pooled).float())
