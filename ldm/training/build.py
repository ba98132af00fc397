"""What trains the model that a config names: the one table from a class that predicts to the class that trains it."""

from collections.abc import Mapping
from typing import Any

from commands.errors import UserError
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.models.diffusion_training import TrainedLatentDiffusion
from ldm.models.joint.training import TrainedJointVideoAction
from ldm.models.joint.video_action import JointVideoAction
from ldm.models.policy.chunk_policy import ChunkPolicy
from ldm.models.policy.training import TrainedChunkPolicy
from ldm.models.trained_model import TrainedModel
from ldm.util import check_config, get_obj_from_str

TRAINED_BY: dict[type, type[TrainedModel]] = {
    LatentDiffusion: TrainedLatentDiffusion,
    ChunkPolicy: TrainedChunkPolicy,
    JointVideoAction: TrainedJointVideoAction,
}


def build_trained_model(node: Mapping[str, Any], where: str = "model") -> TrainedModel:
    """The model of a `target` / `params` node as it trains.

    Raises:
        UserError: if a name is wrong, or the class is none that trains.
    """
    check_config(node, where)
    kind = get_obj_from_str(node["target"], where)
    kind = TRAINED_BY.get(kind, kind)
    if not (isinstance(kind, type) and issubclass(kind, TrainedModel)):
        known = ", ".join(f"{c.__module__}.{c.__name__}" for c in TRAINED_BY)
        raise UserError(f"{where}: nothing trains a {node['target']}; wanted {known}, or a TrainedModel of your own.")
    return kind(**(node.get("params") or {}))
