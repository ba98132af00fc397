"""Laws of the first stage's encoder and decoder."""

import pytest
import torch

from ldm.modules.diffusionmodules.model import CoderConfig, Decoder, Encoder

SMALL = {"ch": 32, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "z_channels": 4, "resolution": 32}


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


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({**SMALL, "chmult": (1,)}, "'chmult'; did you mean 'ch_mult'"),
        ({"ch": 32, "num_res_blocks": 1}, "needs ch_mult, z_channels"),
    ],
)
def test_a_wrong_or_missing_entry_is_named(entries, said):
    with pytest.raises(ValueError, match=said):
        CoderConfig.read(entries)
