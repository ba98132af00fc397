"""Laws of the timed training steps: what each computes, counted."""

import pytest
import torch

from benchmark import training_steps as training_cases
from benchmark.training_data import Bench
from benchmark.training_steps import SIZES, OurStep, diffusers_case, image_loss

CPU = torch.device("cpu")
SMALL = SIZES["tiny"] | {
    "resolution": 16,
    "unet": SIZES["tiny"]["unet"] | {"channel_mult": [1], "attention_resolutions": [1]},
    "first_stage": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1},
}


@pytest.fixture(autouse=True)
def four_pairs(monkeypatch):
    monkeypatch.setattr(training_cases, "PAIRS", 4)


@pytest.fixture
def bench(tmp_path):
    return Bench(SMALL, CPU, tmp_path, num_pairs=4)


def make(bench, micro_batch, cached, loss=None, **model):
    return OurStep(bench, micro_batch, cached, loss, 4, **model)


def test_a_cached_step_calls_no_encoder(bench):
    step = make(bench, 4, True)
    step.step()
    assert dict(step.calls) == {"U-Net": 1}


def test_a_plain_step_encodes_both_frames_and_both_sentences_of_each_micro_batch(bench):
    step = make(bench, 2, False)
    step.step()
    assert dict(step.calls) == {"U-Net": 2, "VAE encoder": 4, "text encoder": 4}


def test_cached_and_plain_steps_have_the_same_loss(bench):
    """Two equal models, the same seeds: only where the latents come from differs, and their half precision."""
    losses = [make(bench, micro, cached).step() for micro, cached in ((4, True), (2, False))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_the_parts_are_those_of_a_step(bench):
    parts = make(bench, 4, True, image_loss("gated")).case("x").parts
    assert list(parts) == ["data", "encode", "U-Net", "loss hooks", "optimiser"]
    assert "loss hooks" not in make(bench, 4, True).case("x").parts
    for act in parts.values():
        act()


def test_a_tiny_decoder_spares_the_first_stages(bench):
    step = make(bench, 4, True, image_loss("gated", tiny_decoder=True))
    assert step.step() > 0 and dict(step.calls) == {"U-Net": 1}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_forward_pass_runs_in_the_precision_that_is_asked_for(tmp_path, dtype):
    step, seen = make(Bench(SMALL, CPU, tmp_path, dtype, num_pairs=4), 4, True), []
    layer = step.model.model.diffusion_model.input_blocks[0][0]
    layer.register_forward_hook(lambda *found: seen.append(found[2].dtype))
    assert step.step() > 0 and seen == [dtype]
    assert {p.dtype for p in step.model.trained_parameters()} == {torch.float32}


def test_only_half_precision_scales_its_loss(tmp_path):
    enabled = [Bench(SMALL, CPU, tmp_path, dtype).scaler().is_enabled() for dtype in (torch.bfloat16, torch.float16)]
    assert enabled == [False, True]


def test_diffusers_network_has_as_many_parameters(bench):
    pytest.importorskip("diffusers")
    case = diffusers_case(bench)
    assert case.parameters == make(bench, 4, True).case("x").parameters
    assert case.step() > 0 and case.calls["U-Net"] == 2
