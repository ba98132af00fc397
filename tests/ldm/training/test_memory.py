"""Laws of the memory estimate, on a small model."""

from functools import partial

import torch

from ldm.training.build import build_trained_model
from ldm.training.memory import LiveStorages, estimate_memory


def estimate(config, batch_size=2, resolution=16, precision="32-true", processes=1, **params):
    config = {**config, "params": config["params"] | params}
    return estimate_memory(partial(build_trained_model, config), batch_size, resolution, precision, processes)


def test_only_what_is_alive_is_counted():
    live = LiveStorages()
    with live:
        kept = torch.zeros(1000)
        view = kept[:10].reshape(2, 5)
        for _ in range(3):
            torch.zeros(500)
    assert (live.now, live.peak, view.numel()) == (4000, 6000, 10)


def test_weights_average_gradients_and_moments_are_those_of_the_parameters(tiny_model_config):
    model = build_trained_model(tiny_model_config)
    trained = 4 * sum(p.numel() for p in model.trained_parameters())
    own = sum(p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers()))
    average = 4 * sum(p.numel() for p in model.model_ema.parameters())
    parts = estimate(tiny_model_config)
    assert (parts["gradients"], parts["optimiser"], parts["average of the weights"]) == (trained, 2 * trained, average)
    assert own - average <= parts["weights"] <= own - average + 1000  # and a few constants
    other = estimate(tiny_model_config, processes=2, optimizer_bits=8, use_ema=False)
    assert (parts["buckets of DDP"], other["buckets of DDP"]) == (0, trained)
    assert (other["optimiser"], other["average of the weights"]) == (trained // 2, 0)


def test_activations_grow_with_the_batch_and_shrink_with_half_precision_and_checkpointing(tiny_model_config):
    one, eight = (estimate(tiny_model_config, batch_size=n, resolution=32)["activations"] for n in (1, 8))
    assert 5 * one < eight < 8.5 * one
    assert estimate(tiny_model_config, 8, 32, "16-mixed")["activations"] < 0.8 * eight
    tiny_model_config["params"]["unet_config"]["params"]["use_checkpoint"] = True
    assert estimate(tiny_model_config, 8, 32)["activations"] < 0.8 * eight


def test_the_image_loss_is_counted(tiny_model_config):
    loss = {"target": "ldm.modules.losses.frame_loss.FrameLoss", "params": {"mode": "exact", "lambda_lpips": 0.1}}
    loss["params"]["lpips_config"] = {"target": "ldm.modules.losses.lpips.LPIPS", "params": {"weights": None}}
    without, with_lpips = estimate(tiny_model_config), estimate(tiny_model_config, frame_loss_config=loss)
    assert with_lpips["weights"] > without["weights"] + 50e6, "VGG16, outside the module tree"
    assert with_lpips["activations"] > without["activations"]
