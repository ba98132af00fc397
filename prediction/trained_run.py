"""Opens a model that main.py trained: a run folder, a checkpoint in one, or the folder of one that was published.

<published>/config.yaml, model.safetensors    the averaged weights under the network's own names
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from commands.errors import UserError
from formats.run_folder import RunFolder, find_run
from ldm.modules.basic import hash_weights
from ldm.training.config import compose
from ldm.util import check_targets, describe_misfit, instantiate_from_config
from stable_diffusion.tensor_files import open_tensor_file

WEIGHTS = "model.safetensors"  # of a published model


@dataclass(frozen=True)
class TrainedRun:
    """A model in eval mode whose average predicts, with the config it was trained by."""

    model: nn.Module
    config: dict[str, Any]
    digest: str  # of the weights, see hash_weights: a file that says the same in other bytes is the same run


def load_trained(path: Path) -> TrainedRun:
    """The model of a run.

    Raises:
        UserError: if there is none, its config names a foreign class, or the weights do not fit.
    """
    run, checkpoint = (RunFolder(path), path / WEIGHTS) if (path / WEIGHTS).is_file() else find_run(path)
    state = {name: tensor.read() for name, tensor in open_tensor_file(checkpoint).tensors.items()}
    config = compose([run.config])
    check_targets(config["model"], where=str(run.config))
    model = instantiate_from_config(config["model"], "model")
    if misfit := describe_misfit(state, model.state_dict()):
        raise UserError(f"{checkpoint} does not fit its config: {misfit}.")
    model.load_state_dict(state)
    digest = hash_weights(model)
    if model.model_ema is not None:
        model.model_ema.swap(model.model)
    return TrainedRun(model.eval(), config, digest)
