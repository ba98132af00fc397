"""Laws of the first stage's encoder and decoder."""

import pytest
import torch

from ldm.modules.diffusionmodules.model import AttnBlock, CoderConfig, Decoder, Downsample, Encoder, ResnetBlock

SMALL = {"ch": 32, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "z_channels": 4, "resolution": 32}


def test_config_knows_its_factor_and_widths():
    config = CoderConfig.read(SMALL)
    assert config.downsampling_factor == 4
    assert config.widths == [32, 64, 64]


def test_config_names_a_wrong_entry():
    with pytest.raises(ValueError, match="'chmult'; did you mean 'ch_mult'"):
        CoderConfig.read({**SMALL, "chmult": (1,)})


def test_config_names_a_missing_entry():
    with pytest.raises(ValueError, match="needs ch_mult, z_channels"):
        CoderConfig.read({"ch": 32, "num_res_blocks": 1})


@pytest.mark.parametrize("double_z", [True, False])
def test_encoder_and_decoder_scale_by_the_factor(double_z):
    config = CoderConfig.read({**SMALL, "double_z": double_z})
    with torch.no_grad():
        z = Encoder(config)(torch.randn(1, 3, 16, 24))
        assert z.shape == (1, 8 if double_z else 4, 4, 6)
        assert Decoder(config)(z[:, :4]).shape == (1, 3, 16, 24)


def test_attention_stands_at_the_resolutions_named():
    """32 // 2^2 = 8 is the third level; taming's names are down.i.attn.j and up.i.attn.j."""
    config = CoderConfig.read({**SMALL, "attn_resolutions": (8,)})
    with torch.device("meta"):
        names = set(Encoder(config).state_dict()) | set(Decoder(config).state_dict())
    assert {n.rsplit(".", 2)[0] for n in names if ".attn." in n} == {"down.2.attn.0", "up.2.attn.0", "up.2.attn.1"}


def test_downsampling_pads_below_and_on_the_right_only():
    """The first output of an all-one kernel sees nine true pixels, the last only four."""
    layer = Downsample(1)
    torch.nn.init.ones_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    assert layer(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]


def test_shortcut_exists_only_where_channels_change():
    assert not hasattr(ResnetBlock(32, 32, 0.0), "nin_shortcut")
    assert ResnetBlock(32, 64, 0.0)(torch.randn(1, 32, 2, 2)).shape == (1, 64, 2, 2)


def test_attention_equals_its_formula():
    torch.manual_seed(0)
    layer, x = AttnBlock(32), torch.randn(2, 32, 3, 4)
    q, k, v = (part(layer.norm(x)).flatten(2) for part in (layer.q, layer.k, layer.v))
    weights = (q.transpose(1, 2) @ k / 32**0.5).softmax(-1)
    expected = x + layer.proj_out((v @ weights.transpose(1, 2)).unflatten(2, (3, 4)))
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_bfloat16_works():
    config = CoderConfig.read(SMALL)
    with torch.no_grad():
        z = Encoder(config).bfloat16()(torch.randn(1, 3, 8, 8).bfloat16())
    assert z.dtype == torch.bfloat16
