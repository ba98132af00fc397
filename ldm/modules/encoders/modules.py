"""Text encoders: instructions to tokens for the U-Net's cross-attention.

Source: CLIP ViT-L/14 (arXiv 2103.00020) for Stable Diffusion v1, OpenCLIP ViT-H/14 (arXiv 2212.07143) for v2, bytes
(ByT5, arXiv 2105.13626) for a small trained encoder that needs no download. transformers and open_clip are imported by
the encoders that need them, when they are built.

Each takes list[str] and gives (B, max_length, width). A sentence longer than max_length is cut, with a warning.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from commands.errors import MissingFileError, MissingPackageError, UserError

if TYPE_CHECKING:
    from transformers import CLIPTextConfig, CLIPTokenizer

log = logging.getLogger(__name__)

CLIP = "openai/clip-vit-large-patch14"  # repository of its tokenizer
CLIP_TOKENS = 77  # context length of CLIP ViT-L/14 and ViT-H/14
CLIP_VOCABULARY = 49_408
TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))  # either set; transformers >= 5 writes the second
WEIGHTS_FOLDER = Path("checkpoints")  # where `python -m stable_diffusion.weights fetch` puts files
BYTE_VOCABULARY = 259  # padding, end, unknown, and the 256 bytes; ByT5
PADDING, END, FIRST_BYTE = 0, 1, 3  # of these
EMBEDDING_STD = 0.02  # of initial token and position embeddings; GPT-2


def _warn_if_cut(lengths: list[int], text: list[str], max_length: int) -> None:
    for length, sentence in zip(lengths, text, strict=True):
        if length > max_length:
            _say_once(f"instruction of {length} tokens cut to {max_length}: '{sentence[:60]}...'")


@lru_cache(maxsize=4096)
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)  # a run meets each sentence thousands of times


class ClipTransformer(nn.Module):
    """CLIP's text tower under the names of published checkpoints, `text_model.*`, whatever transformers calls it.

    transformers < 5.6 keeps the tower in CLIPTextModel.text_model, later versions in CLIPTextModel itself.
    """

    def __init__(self, config: CLIPTextConfig):
        from transformers import CLIPTextModel

        super().__init__()
        tower = CLIPTextModel(config)
        self.text_model = getattr(tower, "text_model", tower)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers (B, L) => (B, L, width) last hidden state after the final layer norm."""
        return self.text_model(input_ids=tokens).last_hidden_state


class FrozenCLIPEmbedder(nn.Module):
    """Stable Diffusion v1's text encoder; built without weights, which are loaded by stable_diffusion.

    Args:
        version: folder with the tokenizer's files, or its name on the hub (looked up in the local cache only).
        max_length: tokens of every sentence, padded with the end-of-text token.
        width, layers, heads, intermediate: shape of the tower, ViT-L/14's by default.
        vocabulary: number of tokens.
    """

    def __init__(
        self,
        version: str = CLIP,
        max_length: int = CLIP_TOKENS,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        intermediate: int = 3072,
        vocabulary: int = CLIP_VOCABULARY,
    ):
        from transformers import CLIPTextConfig

        super().__init__()
        self.version = version
        self.max_length = max_length
        self.width = width
        self.vocabulary = vocabulary
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=max_length,
            hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
            projection_dim=width,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
        )
        self.transformer = ClipTransformer(config)
        self.eval().requires_grad_(False)
        self._tokenizer: CLIPTokenizer | None = None

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of `version`, read at first use."""
        if self._tokenizer is None:
            tokenizer = read_clip_tokenizer(self.version)
            if len(tokenizer) > self.vocabulary:
                raise UserError(
                    f"the tokenizer '{self.version}' knows {len(tokenizer)} tokens, the text encoder "
                    f"{self.vocabulary}: they do not belong together."
                )
            self._tokenizer = tokenizer
        return self._tokenizer

    def tokenize(self, text: list[str]) -> Tensor:
        """Token numbers (B, max_length) of sentences, on the device of the weights."""
        lengths = [len(tokens) for tokens in self.tokenizer(list(text), verbose=False)["input_ids"]]
        _warn_if_cut(lengths, text, self.max_length)
        encoded = self.tokenizer(
            list(text), truncation=True, max_length=self.max_length, padding="max_length", return_tensors="pt"
        )
        return encoded["input_ids"].to(next(self.parameters()).device)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Token numbers (B, max_length) => (B, max_length, width)."""
        return self.transformer(tokens)

    def forward(self, text: list[str]) -> Tensor:
        """(B, max_length, width) embedding of sentences."""
        return self.encode_tokens(self.tokenize(text))


def read_clip_tokenizer(version: str) -> CLIPTokenizer:
    """CLIP's tokenizer, from where `find_clip_tokenizer` finds it."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(find_clip_tokenizer(version)), local_files_only=True)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's files.

    transformers, given a folder without them, would make an empty tokenizer and say nothing.
    """
    return any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES)


def find_clip_tokenizer(version: str = CLIP) -> Path:
    """Folder with CLIP's tokenizer: `version` itself, checkpoints/<name>, or the hub's local cache; never downloads.

    Raises:
        MissingFileError: if its files are in none of them.
    """
    places = [Path(version), WEIGHTS_FOLDER / Path(version).name, *_cached_folders(version)]
    found = next(filter(has_tokenizer, places), None)
    if found is not None:
        return found
    raise MissingFileError(
        f"CLIP's tokenizer '{version}' is not on this machine: {' and '.join(TOKENIZER_FILES[0])} are wanted in "
        f"{places[1]}/.\nFetch them with: python -m stable_diffusion.weights fetch clip-vit-large-patch14\n"
        f"or copy them from https://huggingface.co/openai/clip-vit-large-patch14 into that folder."
    )


def _cached_folders(version: str) -> list[Path]:
    """Where the hub's local cache holds the tokenizer of a repository."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(version, names[0]) for names in TOKENIZER_FILES]
    except HFValidationError:  # a folder's path is no repository's name
        return []
    return [Path(path).parent for path in found if isinstance(path, str)]


class FrozenOpenCLIPEmbedder(nn.Module):
    """Stable Diffusion v2's text encoder: OpenCLIP ViT-H/14 without its last block.

    Args:
        arch: name of the architecture in open_clip.
        max_length: tokens of every sentence.
        skip_layers: blocks left out at the end; SD v2 leaves out one ("penultimate").
    """

    def __init__(self, arch: str = "ViT-H-14", max_length: int = CLIP_TOKENS, skip_layers: int = 1):
        super().__init__()
        self.arch = arch
        self.max_length = max_length
        self.skip_layers = skip_layers
        self.model = _import_open_clip().create_model(arch, pretrained=None, device=torch.get_default_device())
        del self.model.visual
        self.width = self.model.token_embedding.weight.shape[1]
        self.eval().requires_grad_(False)
        self._tokenizer: Any = None

    def tokenize(self, text: list[str]) -> Tensor:
        """Token numbers (B, max_length) of sentences, padded with zeros, on the device of the weights."""
        if self._tokenizer is None:
            self._tokenizer = _import_open_clip().SimpleTokenizer(context_length=self.max_length)
        lengths = [len(self._tokenizer.encode(sentence)) + 2 for sentence in text]  # with start and end of text
        _warn_if_cut(lengths, text, self.max_length)
        return self._tokenizer(list(text)).to(self.model.token_embedding.weight.device)

    def forward(self, text: list[str]) -> Tensor:
        """(B, max_length, width) embedding of sentences: the hidden state before the last block, normalised."""
        model = self.model
        h = model.token_embedding(self.tokenize(text)) + model.positional_embedding
        blocks = model.transformer.resblocks
        for block in blocks[: len(blocks) - self.skip_layers]:
            h = block(h, attn_mask=model.attn_mask.to(h.dtype))
        return model.ln_final(h)


def _import_open_clip() -> Any:
    try:
        import open_clip  # noqa: PLC0415 - optional, heavy, and needed by SD v2 only
    except ImportError as error:
        raise MissingPackageError(
            f"SD v2's text encoder needs open_clip, which does not import ({error}).\n"
            "Install it with: pip install open-clip-torch (it needs torchvision of the same release as torch)"
        ) from error
    return open_clip


class ByteTextEmbedder(nn.Module):
    """A small text encoder over bytes, trained with the U-Net; needs no file.

    Args:
        width: channels of a token, a multiple of heads.
        layers, heads: of the transformer.
        max_length: bytes of every sentence, the end mark included.
    """

    def __init__(self, width: int, layers: int, heads: int, max_length: int):
        super().__init__()
        self.width = width
        self.max_length = max_length
        self.token_embedding = nn.Embedding(BYTE_VOCABULARY, width)
        self.position_embedding = nn.Parameter(EMBEDDING_STD * torch.randn(max_length, width))
        nn.init.normal_(self.token_embedding.weight, std=EMBEDDING_STD)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def tokenize(self, text: list[str]) -> Tensor:
        """Byte numbers (B, max_length), padded, on the device of the weights."""
        rows = [list(sentence.encode("utf-8")) for sentence in text]
        _warn_if_cut([len(row) + 1 for row in rows], text, self.max_length)
        tokens = torch.full((len(rows), self.max_length), PADDING)
        for place, row in zip(tokens, rows, strict=True):
            kept = torch.tensor([byte + FIRST_BYTE for byte in row[: self.max_length - 1]] + [END])
            place[: len(kept)] = kept
        return tokens.to(self.position_embedding.device)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Byte numbers (B, max_length) => (B, max_length, width); no byte attends to the padding."""
        embedded = self.token_embedding(tokens) + self.position_embedding
        return self.transformer(embedded, src_key_padding_mask=tokens == PADDING)

    def forward(self, text: list[str]) -> Tensor:
        """(B, max_length, width) embedding of sentences."""
        return self.encode_tokens(self.tokenize(text))
