"""Laws of the two sides: they compute the same, in as few calls as can be."""

import pytest
import torch

from benchmark.inference import calls_of, make_works, measure_flop
from benchmark.peers import make_sides, measure_parity
from prediction.predictor import Runtime

pytest.importorskip("diffusers")

CPU = torch.device("cpu")
WORKS = {work.row: work for work in make_works(2)}
FRAMES = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def sides():
    return make_sides("tiny", Runtime(), CPU)


@pytest.mark.reference
@pytest.mark.parametrize(("name", "network", "coders"), [("I4", 10, 1), ("I4s", 20, 2), ("I5", 4, 1), ("I6b", 1, 1)])
def test_both_sides_draw_the_same_pictures_in_the_fewest_calls(sides, name, network, coders):
    """One network call a step for all branches and frames; rounding may differ by a grey level from diffusers'."""
    ours, theirs = (side.predict(WORKS[name], FRAMES) for side in sides)
    assert ours.shape == theirs.shape == FRAMES.shape
    assert (ours.int() - theirs.int()).abs().max() <= 1
    counted = calls_of(sides[0], WORKS[name], FRAMES)
    assert counted == {"network": network, "encoder": coders, "decoder": coders, "text": 0}


@pytest.mark.reference
def test_final_latents_equal_diffusers_with_either_autoencoder(sides):
    assert measure_parity(*sides, FRAMES) < 1e-4
    tiny = make_sides("tiny", Runtime(), CPU, tiny_coder=True)
    assert measure_parity(*tiny, FRAMES) < 1e-4
    ours, theirs = (side.predict(WORKS["I7b"], FRAMES).int() for side in tiny)
    assert (ours - theirs).abs().max() <= 1


@pytest.mark.reference
def test_work_grows_with_steps_and_branches(sides):
    one, four, ten = (measure_flop(sides[0], WORKS[name], FRAMES) for name in ("I6b", "I5", "I4"))
    assert one < four < ten
