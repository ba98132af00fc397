"""Laws of the first stages' distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ldm.modules.distributions.distributions import DiagonalGaussianDistribution


def make(batch=2):
    torch.manual_seed(0)
    return DiagonalGaussianDistribution(torch.randn(batch, 6, 4, 5))


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_kl_equals_torch_distributions():
    posterior = make()
    normal, unit = Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)
    assert torch.allclose(posterior.kl(), kl_divergence(normal, unit).flatten(1).sum(1), rtol=1e-5)


def test_extreme_variances_are_clamped():
    parameters = torch.tensor([0.0, 0.0, -1000.0, 1000.0])[None, :, None, None]
    assert DiagonalGaussianDistribution(parameters).logvar.flatten().tolist() == [-30.0, 20.0]


def test_a_draw_depends_on_its_generator_alone():
    """Sample 1 of a batch is the same as that sample in a batch of one."""
    parameters = torch.randn(2, 6, 4, 5)
    both = DiagonalGaussianDistribution(parameters).sample(generators(3, 7))
    alone = DiagonalGaussianDistribution(parameters[1:]).sample(generators(7))
    assert torch.equal(both[1:], alone)


def test_draws_have_mean_and_deviation():
    """Parameters are the mean, then the logarithm of the variance; the mode is the mean."""
    parameters = torch.cat([torch.full((1, 1, 200, 200), 5.0), torch.full((1, 1, 200, 200), math.log(4.0))], 1)
    posterior = DiagonalGaussianDistribution(parameters)
    draw = posterior.sample()
    assert (posterior.mode() == 5.0).all()
    assert draw.mean().item() == pytest.approx(5.0, abs=0.05)
    assert draw.std().item() == pytest.approx(2.0, abs=0.05)


def test_a_wrong_number_of_generators_is_refused():
    with pytest.raises(ValueError, match="1 generators for 2 samples"):
        make().sample(generators(0))
