"""A checkpoint of the tiny model on disk, as tests of the scripts want it."""

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from ldm.util import instantiate_from_config


def write_tiny_checkpoint(folder: Path, model_config: dict, steps: int = 2) -> Path:
    """model.safetensors and config.yaml of a model of 8 x 8 frames with random weights; the first's path."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = instantiate_from_config(model_config, "model")
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    weights = {name: value.contiguous() for name, value in model.state_dict().items() if "model_ema" not in name}
    save_file(weights, folder / "model.safetensors")
    sampling = {"steps": steps, "text_scale": 2.0, "image_scale": 1.5}
    config = {"resolution": 8, "horizon": 3, "model": model_config, "sampling": sampling}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "model.safetensors"
