"""Laws of the two sides: they compute the same."""

import pytest
import torch

from benchmark.inference import make_rows
from benchmark.peers import Shape, make_systems, measure_parity
from prediction.predictor import Runtime

pytest.importorskip("diffusers")

CPU = torch.device("cpu")
SMALL = Shape(32, (1, 2), 32, 32, 32, 2, blocks=1, tiny_width=8)


@pytest.fixture(scope="module")
def systems():
    return make_systems(SMALL, Runtime(), CPU, tuned=False)


@pytest.fixture(scope="module")
def tiny_systems():
    return make_systems(SMALL, Runtime(), CPU, tuned=False, tiny_coder=True)


@pytest.fixture
def frames():
    return torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def row(name):
    return next(row for row in make_rows(SMALL) if row.name == name)


@pytest.mark.reference
def test_final_latents_equal_diffusers(systems, tiny_systems, frames):
    assert measure_parity(systems, frames) < 1e-4
    assert measure_parity(tiny_systems, frames) < 1e-4


@pytest.mark.reference
@pytest.mark.parametrize("name", ["I4", "I5", "I6b"])
def test_both_sides_draw_the_same_pictures(systems, frames, name):
    """The rows' samplers, guidance and batches mean the same to both; rounding may differ by a grey level."""
    ours, theirs = systems.ours(row(name), frames), systems.theirs(row(name), frames)
    assert ours.shape == theirs.shape == frames.shape
    assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.reference
def test_both_sides_draw_the_same_pictures_with_a_tiny_autoencoder(tiny_systems, frames):
    ours, theirs = tiny_systems.ours(row("I7b"), frames), tiny_systems.theirs(row("I7b"), frames)
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_the_precision_is_the_peers(systems):
    assert systems.precision == "fp32"
