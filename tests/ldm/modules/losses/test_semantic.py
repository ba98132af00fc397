"""Laws of the semantic constraint."""

import math

import pytest
import torch
from torch import nn

from commands.errors import UserError
from ldm.modules.losses.semantic import SemanticConstraint, agreement, moved_region, preservation


class Colours(nn.Module):
    """Stands for CLIP: a picture's vector is its mean colour, a sentence's the colour that it names."""

    logit_scale = 10.0
    names = ("red", "green", "blue")

    def embed_pictures(self, frame):
        return nn.functional.normalize(frame.mean(dim=(2, 3)), dim=-1)

    def embed_sentences(self, sentences):
        return torch.eye(3)[[self.names.index(s) for s in sentences]]


def make(lambda_text=1.0, lambda_keep=0.0):
    node = {"target": "builtins.dict"} if lambda_text else None
    made = SemanticConstraint(lambda_text, lambda_keep, 0.1, 1, Colours.names, node)
    made.clip = Colours()
    return made


def coloured(channel):
    frame = torch.zeros(1, 3, 8, 8)
    frame[:, channel] = 1.0
    return frame


def test_agreement_in_closed_form():
    """Orthogonal sentences: -log(e^s / (e^s + 2)) for the right one, -log(1 / (e^s + 2)) for a wrong one."""
    losses = agreement(torch.eye(3)[[0, 0]], torch.eye(3), torch.tensor([0, 1]), scale=2.0)
    total = math.exp(2.0) + 2.0
    assert losses.tolist() == pytest.approx([math.log(total) - 2.0, math.log(total)], rel=1e-5)


def test_the_right_sentence_costs_less_than_another():
    loss, frame = make(), coloured(1)
    right, wrong = (loss(frame, frame, frame, [name])["semantic_text"] for name in ("green", "red"))
    assert right < 0.01 < wrong


def test_its_gradient_turns_the_picture_towards_the_sentence():
    frame = coloured(0).requires_grad_(True)
    make()(frame, frame.detach(), frame.detach(), ["blue"])["semantic_text"].backward()
    assert (-frame.grad[:, 2]).sum() > 0 > (-frame.grad[:, 0]).sum() - 1e-9


def test_the_mask_is_where_something_moves_and_near_it():
    source = torch.zeros(1, 3, 7, 7)
    target = source.clone()
    target[0, 1, 3, 3] = 1.0
    mask = moved_region(source, target, threshold=0.1, margin=1)
    assert mask.sum() == 9 and mask[0, 0, 2:5, 2:5].all()


def test_preservation_counts_only_what_stands_still():
    source = torch.zeros(1, 3, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1.0
    prediction = source.clone()
    prediction[..., :2] = 5.0
    assert preservation(prediction, source, mask) == 0
    prediction[..., 2:] = 0.5
    assert preservation(prediction, source, mask) == pytest.approx(0.5)
    assert preservation(prediction, source, torch.ones_like(mask)) == 0


def test_terms_are_weighted_and_switched():
    terms = make(0.0, 2.0)(coloured(0), torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), ["red"])
    assert set(terms) == {"semantic_keep"}
    assert terms["semantic_keep"] == pytest.approx(2.0 / 3.0)


def test_a_text_term_without_clip_is_refused():
    with pytest.raises(UserError, match="needs clip_config"):
        SemanticConstraint(1.0, 1.0, 0.1, 1)
