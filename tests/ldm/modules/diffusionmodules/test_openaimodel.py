"""Laws of the U-Net."""

import json
from inspect import signature

import pytest
import torch

from ldm.modules.attention import SpatialTransformer
from ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel

SD_V1 = {
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": 2,
    "attention_resolutions": (4, 2, 1),
    "channel_mult": (1, 2, 4, 4),
}


@pytest.mark.reference
def test_output_equals_the_original(reference):
    """Agreement with latent-diffusion's own module, same weights and input."""
    arrays, weights = reference("ldm_unet_small.npz")
    settings = json.loads(str(arrays["config"]))
    network = UNetModel(**{k: v for k, v in settings.items() if k in signature(UNetModel).parameters})
    network.load_state_dict(weights)
    with torch.no_grad():
        y = network(*(torch.from_numpy(arrays[name]) for name in ("x", "t", "context")))
    assert (y - torch.from_numpy(arrays["y"])).abs().max() <= 1e-5


def test_parameter_counts_of_published_networks():
    """859,532,484 with 8 input channels (SD v1, InstructPix2Pix); 865,910,724 with 4 (SD v2)."""
    with torch.device("meta"):
        v1 = UNetModel(**SD_V1, num_heads=8, context_dim=768)
        v2 = UNetModel(
            **{**SD_V1, "in_channels": 4}, num_head_channels=64, context_dim=1024, use_linear_in_transformer=True
        )
    assert sum(p.numel() for p in v1.parameters()) == 859_532_484
    assert sum(p.numel() for p in v2.parameters()) == 865_910_724


def test_a_new_network_gives_zero_and_its_blocks_change_nothing(make_unet, unet_inputs):
    assert (make_unet(scrambled=False)(*unet_inputs()) == 0).all()
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(ResBlock(32, 16, 32, 0.0, False)(x, torch.randn(2, 16)), x)
    attention = SpatialTransformer(32, 4, 8, 2, 16, use_linear=False, use_checkpoint=False)
    assert torch.equal(attention(x, torch.randn(2, 7, 16)), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_network_gives_about_the_same(make_unet, unet_inputs, dtype):
    """Under autocast, and with half weights for inputs in any precision; the output has the input's dtype."""
    network, (x, t, context) = make_unet(), unet_inputs(batch=3, height=4, width=18)
    with torch.no_grad():
        full = network(x, t, context)
        with torch.autocast("cpu", dtype=dtype):
            mixed = network(x, t, context)
        network.to(dtype)
        from_half, from_full = network(x.to(dtype), t, context.to(dtype)), network(x, t, context)
    assert (from_half.dtype, from_full.dtype, from_full.shape) == (dtype, torch.float32, (3, 4, 4, 18))
    for half in (mixed, from_full):
        assert (half - full).abs().max() < 0.05 * full.abs().max()


@pytest.mark.parametrize(
    ("settings", "inputs", "said"),
    [
        ({"num_heads": -1}, {}, "exactly one"),
        ({"num_heads": 4, "num_head_channels": 8}, {}, "exactly one"),
        ({"num_heads": 3}, {}, "do not divide"),
        ({"num_heads": -1, "num_head_channels": 24}, {}, "do not divide"),
        ({"in_channels": 4}, {}, r"takes \(B, 4, H, W\)"),
        ({}, {"height": 7}, "multiples of 2"),
        ({"channel_mult": (1, 1, 1)}, {"height": 6}, r"halves it 2 times.*multiples of 4"),
    ],
)
def test_settings_and_sizes_that_do_not_fit_are_refused(make_unet, unet_inputs, settings, inputs, said):
    with pytest.raises(ValueError, match=said):
        make_unet(**settings)(*unet_inputs(**inputs))
