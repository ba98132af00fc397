"""Laws of CLIP's two towers."""

import pytest
import torch
from safetensors.torch import save_file

from ldm.modules.encoders.clip import ClipTowers

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE = {
    "projection_dim": 8,
    "text_config": {**TOWER, "projection_dim": 8, "vocab_size": 50, "max_position_embeddings": 7, "eos_token_id": 49},
    "vision_config": {**TOWER, "projection_dim": 8, "patch_size": 4, "image_size": 8},
}


def make(weights=None, seed=0):
    torch.manual_seed(seed)
    made = ClipTowers(weights, shape=SHAPE)
    made.tokenize = lambda sentences: torch.tensor([[len(s), 3, 49, 49, 49, 49, 49] for s in sentences])
    return made


def test_vectors_have_length_one_and_pictures_of_any_size_are_taken():
    clip = make()
    for frame in (torch.rand(2, 3, 16, 16), torch.rand(2, 3, 9, 30)):
        assert clip.embed_pictures(frame).norm(dim=-1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert clip.embed_sentences(["stack blocks"]).norm(dim=-1).item() == pytest.approx(1.0, abs=1e-5)


def test_the_gradient_reaches_the_picture_and_no_weight():
    clip, frame = make(), torch.zeros(1, 3, 16, 16, requires_grad=True)
    clip.embed_pictures(frame).sum().backward()
    assert frame.grad.abs().sum() > 0
    assert not list(clip.parameters()) and not clip.state_dict()


def test_transformers_own_vectors():
    """The same as CLIPModel's for a picture that needs no resizing."""
    clip, model = make(), make()._hidden[0]
    frame = torch.rand(1, 3, 8, 8)
    from ldm.modules.encoders.clip import DEVIATION, MEAN

    pixels = ((frame + 1) / 2 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    out = model(input_ids=torch.tensor([[1, 49, 49]]), pixel_values=pixels)
    torch.testing.assert_close(clip.embed_pictures(frame), out.image_embeds, atol=1e-5, rtol=1e-4)


def test_weights_come_from_a_file(tmp_path):
    saved = make(seed=1)
    save_file(saved._hidden[0].state_dict(), tmp_path / "clip.safetensors")
    loaded = make(str(tmp_path / "clip.safetensors"))
    loaded.load_weights()
    frame = torch.rand(1, 3, 8, 8)
    assert torch.equal(loaded.embed_pictures(frame), saved.embed_pictures(frame))


def test_an_absent_file_is_said_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="fetch clip-vit-large-patch14-weights"):
        make(str(tmp_path / "none.safetensors")).load_weights()
