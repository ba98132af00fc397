"""Laws of the picture grids; their place in a run is tested in tests/test_main.py."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ldm.callbacks.image_logger import LABEL_WIDTH, ImageLogger, make_grid
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.training.build import build_trained_model


def test_each_row_shows_its_frames_in_order():
    """Black, grey and white frames come out where they belong, enlarged without blur, beside their labels."""
    greys = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 8, 8)
    grid = np.asarray(make_grid({"input": greys, "prediction": greys.flip(0)}))
    scale = grid.shape[0] // 16
    centres = LABEL_WIDTH + scale * (4 + 8 * np.arange(3))
    assert (grid[:, :LABEL_WIDTH] < 200).any()
    assert grid[4 * scale, centres, 0].tolist() == [0, 128, 255]
    assert grid[12 * scale, centres, 0].tolist() == [255, 128, 0]


def test_a_model_shows_input_truth_reconstruction_and_prediction(tiny_model_config):
    model = build_trained_model(tiny_model_config).eval()
    source, target = torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = {"source_frame": source, "target_frame": target, "instruction": ["a", "b", "c"]}
    rows = model.log_images(batch, SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0))
    assert list(rows) == ["input", "truth", "reconstruction", "prediction"]
    assert torch.equal(rows["input"], source) and torch.equal(rows["truth"], target)
    torch.testing.assert_close(rows["reconstruction"], target)  # this first stage loses nothing
    assert rows["prediction"].shape == target.shape and not torch.equal(rows["prediction"], target)


@pytest.mark.parametrize(("length", "wanted"), [(1500, 300), (100_000, 2500), (3, 1), (float("inf"), 2500)])
def test_a_short_run_draws_some_training_pairs(tmp_path, length, wanted):
    callback = ImageLogger(tmp_path, 2500, 4, steps=1, text_scale=1.0, image_scale=1.0)
    callback.on_train_start(SimpleNamespace(global_step=0, estimated_stepping_batches=length), None)
    assert callback.every_n_steps == wanted


def test_validation_pictures_are_measured_over_batches(tmp_path):
    """Means over what is finite: the second pair does not move."""
    callback = ImageLogger(tmp_path, 100, 1, steps=1, text_scale=1.0, image_scale=1.0, num_scored=3)
    truth = torch.zeros(2, 3, 16, 16)
    rows = {"input": truth + torch.tensor([0.5, 0.0]).reshape(2, 1, 1, 1), "truth": truth, "prediction": truth + 0.1}
    seen, logged = [], {}

    def log_images(batch, options):
        seen.append(len(batch["x"]))
        return {name: frames[: seen[-1]] for name, frames in rows.items()}

    model = SimpleNamespace(training=True, eval=bool, train=bool, device="cpu", log_images=log_images)
    model.log = lambda name, value, **_: logged.update({name: value})
    plugin = SimpleNamespace(forward_context=torch.no_grad)
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)
    trainer = SimpleNamespace(
        sanity_checking=False, precision_plugin=plugin, strategy=strategy, global_step=5, loggers=[]
    )
    callback.on_validation_epoch_start(trainer, model)
    for place in range(3):
        callback.on_validation_batch_end(trainer, model, None, {"x": [1, 2]}, place)
    callback.on_validation_epoch_end(trainer, model)
    assert seen == [2, 1] and (tmp_path / "val" / "step-000005.png").is_file()
    psnr = 20 * np.log10(255 / 12)  # 128 against 140 grey levels
    assert logged["val/psnr"] == pytest.approx(psnr, abs=1e-4)
    assert logged["val/psnr_motion"] == pytest.approx(psnr, abs=1e-4) and 0.9 < logged["val/ssim"] < 1.0
