"""CLIP similarity: does the prediction show what the sentence says, and what the truth shows?

Source: Hessel et al., "CLIPScore" (arXiv 2104.08718): 100 times the cosine of the two embeddings; for prediction and
truth both are pictures. The model is read from a local folder, or from the Hugging Face cache, and never downloaded.
The towers are those of ldm.modules.encoders.clip.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from formats.prepared_folder import FramePair
from ldm.modules.encoders.clip import picture_vectors, read_clip, sentence_vectors

MODEL_NAME = "openai/clip-vit-large-patch14"


@dataclass(frozen=True)
class ClipSimilarity:
    """Measures clip_text and clip_image.

    Args:
        source: a folder in Hugging Face's layout, or a model's name in the local cache.
    """

    source: str

    def __reduce__(self) -> tuple:
        """Another process reads the model itself."""
        return type(self), (self.source,)

    @property
    def keys(self) -> tuple[str, ...]:
        """Similarity to the sentence and to the true picture."""
        return ("clip_text", "clip_image")

    @cached_property
    def version(self) -> str:
        """Source and, for a folder, the first digits of its configuration's SHA-256."""
        config = Path(self.source) / "config.json"
        return (
            f"{self.source} {hashlib.sha256(config.read_bytes()).hexdigest()[:16]}" if config.is_file() else self.source
        )

    @cached_property
    def model(self) -> tuple:
        """Model and preprocessing, see read_clip."""
        return read_clip(self.source)

    def measure(self, pair: FramePair, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Similarities of a uint8 (H, W, 3) prediction, in hundredths."""
        model, processor = self.model
        pictures = processor(images=[prediction, truth], return_tensors="pt")["pixel_values"]
        tokens = processor(text=[pair.instruction], return_tensors="pt", padding=True, truncation=True)
        predicted, true = picture_vectors(model, pictures)
        (sentence,) = sentence_vectors(model, tokens["input_ids"], tokens["attention_mask"])
        return {"clip_text": 100.0 * float(predicted @ sentence), "clip_image": 100.0 * float(predicted @ true)}
