"""Laws of the shared bricks."""

import math

import pytest
import torch
from torch import nn

from ldm.modules.basic import GroupNorm, run_checkpointed, timestep_embedding


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_group_norm_follows_its_input(dtype, weight_dtype):
    """Output has the input's dtype; its mean is 0 and its variance 1 even far from zero."""
    norm = GroupNorm(64, eps=1e-6).to(weight_dtype)
    y = norm((torch.randn(2, 64, 16, 16) + 20).to(dtype))
    assert y.dtype == dtype
    assert y.float().mean().abs() < 0.01
    assert (y.float().std() - 1).abs() < 0.02


def test_group_norm_statistics_do_not_overflow_half():
    """Squares of 1000 exceed float16; the statistics are float32."""
    y = GroupNorm(32, eps=1e-6).half()(1000 * torch.randn(1, 32, 8, 8).half())
    assert y.isfinite().all()


def test_timestep_embedding_is_cosines_then_sines():
    """At t = 0 it is ones then zeros; the first pair turns at rate 1; a fraction lies between."""
    embedded = timestep_embedding(torch.tensor([0.0, 1.0, 0.5]), 8)
    assert embedded[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert embedded[1, 0].item() == pytest.approx(math.cos(1))
    assert embedded[1, 4].item() == pytest.approx(math.sin(1))
    assert embedded[1, 5].item() == pytest.approx(math.sin(10_000 ** (-1 / 4)))
    assert embedded[2, 4].item() == pytest.approx(math.sin(0.5))
    assert timestep_embedding(torch.tensor([999]), 4).dtype == torch.float32, "of whole numbers too"


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="48 channels"):
        GroupNorm(48, eps=1e-5)
    with pytest.raises(ValueError, match="odd width 7"):
        timestep_embedding(torch.zeros(1), 7)


def test_checkpointing_changes_no_gradient():
    """A frozen layer inside and an input without gradient are allowed."""
    layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    layers[0].requires_grad_(False)
    x = torch.randn(3, 4)
    grads = []
    for enabled in (False, True):
        layers.zero_grad()
        run_checkpointed(layers, x, enabled=enabled).sum().backward()
        grads.append(layers[2].weight.grad.clone())
    assert torch.equal(*grads)
