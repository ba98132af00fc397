"""Laws of the timed training steps: what each computes, counted."""

import pytest
import torch

from benchmark.peers import DiffusersStep
from benchmark.training_steps import OurStep, image_loss, tiny_decoder


@pytest.fixture
def make(make_bench):
    bench = make_bench(num_pairs=4)
    return lambda micro_batch, cached, loss=None: OurStep(bench, "x", micro_batch, cached, loss)


def test_a_cached_step_calls_no_encoder_and_a_plain_one_encodes_all_of_each_micro_batch(make):
    """Two equal models, the same seeds: the losses differ by the half precision of cached latents alone."""
    cached, plain = make(4, True), make(2, False)
    assert cached.step() == pytest.approx(plain.step(), rel=1e-2)
    assert dict(cached.calls) == {"U-Net": 1}
    assert dict(plain.calls) == {"U-Net": 2, "VAE encoder": 4, "text encoder": 4}


def test_the_parts_are_those_of_a_step(make):
    parts = make(4, True, image_loss("gated", crop=16)).parts()
    assert list(parts) == ["data", "encode", "U-Net", "loss hooks", "optimiser"]
    assert "loss hooks" not in make(4, True).parts()
    for act in parts.values():
        act()


def test_a_tiny_decoder_spares_the_first_stages(make):
    step = make(4, True, image_loss("gated", tiny_decoder_config=tiny_decoder(0.18215)))
    assert step.step() > 0 and dict(step.calls) == {"U-Net": 1}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_forward_pass_runs_in_the_precision_that_is_asked_for(make_bench, dtype):
    step, seen = OurStep(make_bench(dtype), "x", 4, True), []
    layer = step.model.model.diffusion_model.input_blocks[0][0]
    layer.register_forward_hook(lambda *found: seen.append(found[2].dtype))
    assert step.step() > 0 and seen == [dtype]
    assert {p.dtype for p in step.model.trained_parameters()} == {torch.float32}


def test_diffusers_network_has_as_many_parameters(make, make_bench):
    pytest.importorskip("diffusers")
    step = DiffusersStep(make_bench(num_pairs=16))
    assert step.parameters == make(4, True).parameters
    assert step.step() > 0 and step.calls["U-Net"] == 8 and list(step.parts()) == ["data"]
