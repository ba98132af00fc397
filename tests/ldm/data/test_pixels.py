"""Laws of pixel conversion: all 256 values survive, and the ends are the ends."""

import numpy as np
import pytest
import torch

from ldm.data.pixels import (
    array_to_tensor,
    signed_to_unit,
    tensor_to_array,
    to_signed,
    to_uint8,
    unit_to_signed,
)

ALL = torch.arange(256, dtype=torch.uint8)


def test_all_256_values_survive_the_round_trip():
    assert torch.equal(to_uint8(to_signed(ALL)), ALL) and torch.equal(to_uint8(to_signed(ALL).half()), ALL)
    assert torch.equal(to_uint8(unit_to_signed(signed_to_unit(to_signed(ALL)))), ALL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_ends_and_the_middle_map_to_0_255_and_128(dtype):
    assert to_uint8(torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)).tolist() == [0, 128, 255]


def test_values_outside_are_clamped_never_wrapped():
    """The published predictions of two projects show uint8 wrap-around: 256 became 0."""
    assert to_uint8(torch.tensor([-1.01, 1.01, -50.0, 50.0])).tolist() == [0, 255, 0, 255]
    assert signed_to_unit(torch.tensor([-3.0, 3.0])).tolist() == [0.0, 1.0]


def test_values_are_rounded_to_the_nearest_never_cut():
    just_below = to_signed(ALL[200:201]) - 0.1 / 127.5
    assert to_uint8(just_below).item() == 200


def test_arrays_and_tensors_exchange_axes_without_loss():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    tensor = array_to_tensor(pixels)
    assert tensor.shape == (3, 5, 7) and np.array_equal(tensor_to_array(tensor), pixels)
    assert tensor[0, 2, 3] == pixels[2, 3, 0]
    pixels[:] = 0
    assert tensor.max() > 0, "the tensor is its own"


def test_what_is_no_picture_is_refused():
    for wrong in (np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
            array_to_tensor(wrong)
    with pytest.raises(ValueError, match="to_uint8 first"):
        to_signed(torch.zeros(3))
