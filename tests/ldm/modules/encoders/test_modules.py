"""Laws of the text encoders."""

import logging
import sys

import pytest
import torch

from ldm.modules.encoders.modules import ByteTextEmbedder, FrozenCLIPEmbedder, FrozenOpenCLIPEmbedder

SMALL_CLIP = {"width": 16, "layers": 2, "heads": 2, "intermediate": 32, "vocabulary": 514}


@pytest.fixture
def clip(clip_folder):
    torch.manual_seed(0)
    return FrozenCLIPEmbedder(version=str(clip_folder), max_length=12, **SMALL_CLIP)


@pytest.fixture
def byte_embedder():
    torch.manual_seed(0)
    return ByteTextEmbedder(width=16, layers=2, heads=2, max_length=24)


def test_clip_pads_with_the_end_of_text(clip):
    tokens = clip.tokenize(["ab", ""])
    assert tokens[0, 0] == tokens[1, 0] == 512 and not clip.training
    assert not any(p.requires_grad for p in clip.parameters())
    assert (tokens[0, 3:] == 513).all()
    assert (tokens[1, 1:] == 513).all()


def test_clip_is_causal(clip):
    """A token sees only what precedes it, so sentences with the same beginning agree there."""
    first, second = clip(["open the door"]), clip(["open the lid"])
    assert torch.allclose(first[:, :8], second[:, :8], atol=1e-6)
    assert not torch.allclose(first[:, 9:], second[:, 9:], atol=1e-3)


def test_a_long_sentence_is_cut_with_a_warning(clip, byte_embedder, caplog):
    for encoder in (clip, byte_embedder):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert encoder(["move " * 20]).shape == (1, encoder.max_length, encoder.width)
        assert f"cut to {encoder.max_length}" in caplog.text


def test_a_missing_tokenizer_is_told_in_a_sentence(tmp_path, monkeypatch):
    """transformers 5 makes an empty tokenizer of an absent folder and says nothing."""
    monkeypatch.chdir(tmp_path)
    encoder = FrozenCLIPEmbedder(version=str(tmp_path / "absent"), **SMALL_CLIP)
    with pytest.raises(FileNotFoundError, match=r"vocab.json and merges.txt are wanted in checkpoints/absent"):
        encoder(["hello"])


def test_a_tokenizer_is_found_in_the_weights_folder(tmp_path, clip_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "clip-vit-large-patch14").symlink_to(clip_folder)
    assert FrozenCLIPEmbedder(max_length=12, **SMALL_CLIP)(["hello"]).shape == (1, 12, 16)


def test_a_tokenizer_of_another_vocabulary_is_refused(clip_folder):
    encoder = FrozenCLIPEmbedder(version=str(clip_folder), **{**SMALL_CLIP, "vocabulary": 100})
    with pytest.raises(ValueError, match="do not belong together"):
        encoder(["hello"])


def test_a_missing_open_clip_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match="pip install open-clip-torch"):
        FrozenOpenCLIPEmbedder()


@pytest.mark.reference
def test_open_clip_without_skipping_is_its_own_encoder():
    """With no block left out, the hidden state at the end of the text, projected, is what open_clip gives."""
    open_clip = pytest.importorskip("open_clip", reason="open-clip-torch is an optional extra")
    theirs = open_clip.create_model("RN50", pretrained=None)
    ours = FrozenOpenCLIPEmbedder("RN50", skip_layers=0)
    ours.model.load_state_dict({n: t for n, t in theirs.state_dict().items() if not n.startswith("visual.")})
    tokens = ours.tokenize(["stack the blocks"])
    pooled = ours(["stack the blocks"])[0, tokens[0].argmax()] @ theirs.text_projection
    assert (pooled - theirs.encode_text(tokens)[0]).abs().max() <= 1e-5


def test_bytes_beyond_the_sentence_do_not_matter(byte_embedder):
    """Other padding positions in the batch or a changed padding vector leave the sentence's bytes as they are."""
    before = byte_embedder(["abc"])[:, :4]
    with torch.no_grad():
        byte_embedder.token_embedding.weight[0] += 1.0
    assert torch.allclose(byte_embedder(["abc"])[:, :4], before, atol=1e-6)


def test_bytes_train_tell_sentences_apart_and_agree_in_evaluation(byte_embedder):
    """torch's fast path for inference must not change the padding."""
    sentences = ["left", "felt", "Würfel stapeln"]
    trained = byte_embedder(sentences)
    assert (trained[0] - trained[1]).abs().max() > 1e-3
    trained.square().sum().backward()
    assert all(p.grad is not None for p in byte_embedder.parameters())
    with torch.no_grad():
        assert torch.allclose(byte_embedder.eval()(sentences), trained, atol=1e-5)
