"""What the tests of the diffusion share."""

import pytest
import torch

from ldm.models.diffusion.schedule import NoiseSchedule


@pytest.fixture(scope="session")
def schedule() -> NoiseSchedule:
    """Stable Diffusion v1's."""
    return NoiseSchedule(1000, 0.00085, 0.012)


@pytest.fixture
def noise() -> torch.Tensor:
    """The same normal latents of two samples in every test."""
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
