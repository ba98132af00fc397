"""Laws of prediction."""

import pytest
import torch

from ldm.predictor import FramePredictor, SamplingOptions, seed_of
from ldm.util import instantiate_from_config


@pytest.fixture
def predictor(tiny_model_config):
    torch.manual_seed(0)
    model = instantiate_from_config(tiny_model_config, "model").eval()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return FramePredictor(model, 8, SamplingOptions(steps=3, text_scale=2.0, image_scale=1.5))


@pytest.fixture
def frames():
    return torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_prediction_depends_on_its_seed_and_not_on_its_batch(predictor, frames):
    sentences = ["stack blocks", "handover the blocks", "stack blocks"]
    together = predictor.predict(frames, sentences, [7, 8, 9])
    alone = predictor.predict(frames[1:2], sentences[1:2], [8])
    assert (together[1].int() - alone[0].int()).abs().max() <= 1, "rounding may differ in one grey level"
    again = predictor.predict(frames, sentences, [7, 8, 9])
    assert torch.equal(together, again)
    assert not torch.equal(together, predictor.predict(frames, sentences, [1, 2, 3]))
    assert together.dtype == torch.uint8 and together.shape == frames.shape


def test_the_instruction_changes_the_prediction(predictor, frames):
    one = predictor.predict(frames[:1], ["stack blocks"], [0])
    assert not torch.equal(one, predictor.predict(frames[:1], ["hand it over"], [0]))


def test_network_and_text_encoder_are_called_as_seldom_as_can_be(predictor, frames, monkeypatch):
    """Dual guidance: one network call a step; a repeated sentence is embedded once, the null sentence once."""
    calls = {"network": 0, "sentences": 0}
    network, text = predictor.model.apply_model, predictor.model.cond_stage_model.forward

    def count_network(*args):
        calls["network"] += 1
        return network(*args)

    def count_text(sentences):
        calls["sentences"] += len(sentences)
        return text(sentences)

    monkeypatch.setattr(predictor.model, "apply_model", count_network)
    monkeypatch.setattr(predictor.model.cond_stage_model, "forward", count_text)
    for _ in range(2):
        predictor.predict(frames, ["stack blocks"] * 3, [0, 1, 2])
    assert calls == {"network": 2 * 3, "sentences": 2}


@pytest.mark.parametrize(
    ("sentences", "seeds", "message"),
    [
        (["a", "b", " "], [0, 1, 2], "instruction 2 is empty"),
        (["a"], [0, 1, 2], "1 instructions"),
        (["a"] * 3, [0], "1 seeds"),
    ],
)
def test_bad_requests_are_refused(predictor, frames, sentences, seeds, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(frames, sentences, seeds)


@pytest.mark.parametrize("scales", [{"text_scale": -1.0, "image_scale": 1.0}, {"text_scale": 1.0, "image_scale": 1e9}])
def test_scales_out_of_range_are_refused(scales):
    with pytest.raises(ValueError, match="outside"):
        SamplingOptions(steps=3, **scales)


def test_a_pairs_seed_depends_on_its_name():
    assert seed_of("a/0/1-2", 0) == seed_of("a/0/1-2", 0) != seed_of("a/0/1-3", 0)
    assert 0 <= seed_of("x", 5) < 2**63
