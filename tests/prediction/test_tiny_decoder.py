"""Laws of prediction with a tiny decoder: it decodes, and nothing else changes."""

import pytest
import torch
from safetensors.torch import save_file

from ldm.models.tiny_autoencoder import TinyDecoder, to_published
from ldm.util import instantiate_from_config
from prediction.predictor import FramePredictor, Runtime, SamplingOptions, tune_for_inference
from prediction.tiny_decoder import use_tiny_decoder

SCALE = 0.5


@pytest.fixture
def model(tiny_model_config):
    """A model of KL latents of 4 channels at an eighth of the frame's size."""
    coder = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4, "resolution": 16}
    coder |= {"in_channels": 3, "out_ch": 3, "attn_resolutions": [], "double_z": True}
    params = tiny_model_config["params"]
    params["scale_factor"] = SCALE
    params["unet_config"]["params"] |= {"in_channels": 8, "out_channels": 4}
    params["first_stage_config"] = {
        "target": "ldm.models.autoencoder.AutoencoderKL",
        "params": {"ddconfig": coder, "embed_dim": 4},
    }
    torch.manual_seed(0)
    return instantiate_from_config(tiny_model_config, "model").eval()


@pytest.fixture
def decoder_file(tmp_path):
    torch.manual_seed(1)
    decoder = TinyDecoder(SCALE, width=8)
    save_file(to_published(decoder.state_dict(), "decoder"), tmp_path / "taesd_decoder.safetensors")
    return tmp_path / "taesd_decoder.safetensors", decoder


def test_latents_are_encoded_as_before_and_decoded_by_the_other(model, decoder_file):
    path, decoder = decoder_file
    frame, z = torch.rand(1, 3, 16, 16), torch.randn(1, 4, 2, 2)
    context, own = model.encode_context(frame), model.decode_first_stage(z)
    use_tiny_decoder(model, path)
    assert torch.equal(model.encode_context(frame), context)
    decoded = model.decode_first_stage(z)
    torch.testing.assert_close(decoded, decoder(z))
    assert decoded.shape == own.shape and not torch.allclose(decoded, own, atol=1e-2)


def test_a_frame_is_predicted_with_it_in_half_precision_too(model, decoder_file):
    use_tiny_decoder(model, decoder_file[0])
    tune_for_inference(model, Runtime("bf16"))
    predictor = FramePredictor(model, 32, SamplingOptions(steps=2, text_scale=1.0, image_scale=1.0))
    frame = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    assert predictor.predict(frame, ["stack blocks"], [0]).shape == frame.shape


def test_latents_of_another_kind_are_refused(tiny_model_config, decoder_file):
    """The model of patches has 12 channels at half size."""
    model = instantiate_from_config(tiny_model_config, "model")
    with pytest.raises(ValueError, match="4 channels at 1/8 .* this model's have 12 at 1/2; leave"):
        use_tiny_decoder(model, decoder_file[0])
