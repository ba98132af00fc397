"""The one operation on weights that fine-tuning needs: room for the source frame in the first convolution.

Source: InstructPix2Pix (arXiv 2211.09800), section 3.2; its bias is kept (diffusers' training script loses it). Layer
1: imports torch only.
"""

import torch
from torch import Tensor

from commands.errors import UserError

FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"


def widen_first_convolution(weight: Tensor, in_channels: int) -> Tensor:
    """The same convolution with more input channels; the new ones are ignored until training changes that.

    Args:
        weight: (C_out, C_in, k, k).
        in_channels: wanted C_in; where it is the present one, the weight is returned as it is.

    Raises:
        ValueError: if channels would be lost.
    """
    present = weight.shape[1]
    if in_channels == present:
        return weight
    if in_channels < present:
        raise UserError(
            f"the checkpoint's first convolution sees {present} channels, the model's {in_channels}: narrowing would "
            f"throw away what the network learnt about the source frame. Set unet_config.params.in_channels: {present}."
        )
    new = weight.new_zeros(weight.shape[0], in_channels - present, *weight.shape[2:])
    return torch.cat([weight, new], dim=1)
