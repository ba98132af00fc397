"""Laws of the timed training steps: what each computes, counted."""

import pytest
import torch

from metrics import training_cases
from metrics.training_cases import SIZES, OurStep, diffusers_case

CPU = torch.device("cpu")
SMALL = SIZES["tiny"] | {
    "resolution": 16,
    "unet": SIZES["tiny"]["unet"] | {"channel_mult": [1], "attention_resolutions": [1]},
    "first_stage": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
}


@pytest.fixture(autouse=True)
def four_pairs(monkeypatch):
    monkeypatch.setattr(training_cases, "PAIRS", 4)


def test_a_cached_step_calls_no_encoder():
    step = OurStep(SMALL, 4, True, None, CPU)
    step.step()
    assert dict(step.calls) == {"U-Net": 1}


def test_a_plain_step_encodes_both_frames_and_both_sentences_of_each_micro_batch():
    step = OurStep(SMALL, 2, False, None, CPU)
    step.step()
    assert dict(step.calls) == {"U-Net": 2, "VAE encoder": 4, "text encoder": 4}


def test_cached_and_plain_steps_have_the_same_loss():
    """Two equal models, the same seeds: what differs is only where the latents come from."""
    losses = [OurStep(SMALL, micro, cached, None, CPU).step() for micro, cached in ((4, True), (2, False))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_diffusers_network_has_as_many_parameters():
    pytest.importorskip("diffusers")
    case = diffusers_case(SMALL, CPU)
    assert case.parameters == OurStep(SMALL, 4, True, None, CPU).case("x").parameters
    assert case.step() > 0 and case.calls["U-Net"] == 2
