"""Laws of the first stage's own reconstruction, with a small KL first stage."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.data.pixels import array_to_tensor, to_signed, to_uint8
from ldm.util import instantiate_from_config
from prediction.dataset import Job
from prediction.load import LoadedPredictor
from prediction.predictor import FramePredictor, Runtime, SamplingOptions
from prediction.reconstruction import reconstruct_batches, reconstruction_settings

SIDE = 16


@pytest.fixture
def predictor(tiny_model_config):
    coder = {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 4, "resolution": SIDE}
    params = tiny_model_config["params"]
    params["unet_config"]["params"] |= {"in_channels": 8, "out_channels": 4}
    params["first_stage_config"] = {
        "target": "ldm.models.autoencoder.AutoencoderKL",
        "params": {"ddconfig": coder, "embed_dim": 4},
    }
    torch.manual_seed(0)
    model = instantiate_from_config(tiny_model_config, "model").eval()
    return FramePredictor(model, SIDE, SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0))


@pytest.fixture
def jobs(tmp_path):
    """Three jobs whose current frames do not exist."""
    made = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        target = tmp_path / f"{number}_out.png"
        made.append(Job(str(number), tmp_path / "absent.png", "go", target, 0, tmp_path / f"{number}.png"))
    return made


def test_truths_are_encoded_and_decoded_and_the_current_frame_is_not_read(predictor, jobs):
    """The posterior's mode, so the same every time and in every batch."""
    done = [item for batch in reconstruct_batches(predictor, jobs, 2) for item in batch]
    assert [item.job.name for item in done] == ["0", "1", "2"]
    stage = predictor.model.first_stage_model
    for item in done:
        truth = np.asarray(Image.open(item.job.truth))
        with torch.inference_mode():
            expected = to_uint8(stage(to_signed(array_to_tensor(truth)[None])))[0].permute(1, 2, 0)
        assert np.abs(item.frame.astype(int) - expected.numpy()).max() <= 1, "rounding of another batch size"
        assert np.abs(item.frame.astype(int) - truth).max() > 1, "a stage with random weights is not lossless"


def test_record_says_what_it_is_and_nothing_of_sampling(predictor, tmp_path):
    settings = reconstruction_settings(LoadedPredictor(predictor, tmp_path / "m.ckpt", "abc", Runtime()))
    assert settings["reconstruction"] is True and settings["checkpoint_sha256"] == "abc"
    assert "steps" not in settings and "text_scale" not in settings
