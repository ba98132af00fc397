"""Laws of the one operation on weights."""

import pytest
import torch

from stable_diffusion.surgery import FIRST_CONVOLUTION, widen_first_convolution


def test_the_source_frame_is_ignored_until_training(make_model):
    """The widened U-Net gives exactly what the narrow one gave, whatever the new channels hold."""
    narrow, wide = make_model(unet={"in_channels": 4}).model, make_model().model
    weights = narrow.state_dict()
    name = FIRST_CONVOLUTION.removeprefix("model.")
    weights[name] = widen_first_convolution(weights[name], 8)
    wide.load_state_dict(weights)
    x, frame, context = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4), torch.randn(2, 5, 16)
    t = torch.tensor([3, 700])
    with torch.no_grad():
        expected = narrow.diffusion_model(x, t, context)
        assert torch.allclose(wide.diffusion_model(torch.cat([x, frame], 1), t, context), expected, atol=1e-6)


def test_widening_keeps_the_old_channels_and_zeroes_the_new():
    weight = torch.randn(6, 4, 3, 3)
    wide = widen_first_convolution(weight, 8)
    assert torch.equal(wide[:, :4], weight)
    assert (wide[:, 4:] == 0).all()


def test_widening_twice_is_widening_once():
    wide = widen_first_convolution(torch.randn(6, 4, 3, 3), 8)
    assert widen_first_convolution(wide, 8) is wide


def test_narrowing_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"sees 8 channels, the model's 4: .* source frame. Set .*in_channels: 8"):
        widen_first_convolution(torch.randn(6, 8, 3, 3), 4)
