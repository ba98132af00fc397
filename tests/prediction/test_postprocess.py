"""Laws of post-processing: off is the identity, balance restores colours, sharpening raises contrast at edges only."""

import pytest
import torch

from prediction.postprocess import Postprocess, balance_colours, sharpen


@pytest.fixture
def frames():
    return torch.randint(60, 200, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_off_is_the_identity_and_has_no_name(frames):
    off = Postprocess()
    assert off(frames, frames.flip(0)) is frames and off.names() == []


def test_balance_undoes_a_colour_cast(frames):
    """A prediction that is the input with gain and offset in each channel becomes the input."""
    gain = torch.tensor([0.8, 1.1, 0.9])[:, None, None]
    cast = (frames.float() * gain + 10).round().clamp(0, 255).to(torch.uint8)
    mended = Postprocess(colour_balance=True)(cast, frames)
    assert (mended.int() - frames.int()).abs().max() <= 2
    torch.testing.assert_close(balance_colours(frames.float(), frames.float()), frames.float())
    assert torch.isfinite(balance_colours(torch.full_like(frames, 7).float(), frames.float())).all(), "of a flat frame"


def test_sharpening_leaves_flat_parts_and_steepens_an_edge():
    step = torch.zeros(1, 3, 16, 16)
    step[..., 8:] = 100.0
    sharp = sharpen(step, 0.5)
    torch.testing.assert_close(sharp[..., :4], step[..., :4])
    assert sharp[0, 0, 8, 8] - sharp[0, 0, 8, 7] > 100.0
    tiny = torch.zeros(1, 3, 2, 2)
    assert sharpen(tiny, 1.0) is tiny, "smaller than the kernel"


def test_what_was_done_is_named():
    assert Postprocess(True, 0.5).names() == ["colour balance", "sharpen 0.5"]
    with pytest.raises(ValueError, match="outside"):
        Postprocess(sharpen=3.0)
