"""Building objects from configs: `target` / `params` nodes, checked before construction.

A wrong name in a YAML is refused with its path, the nearest right name and the full list, before any network is
allocated. A config is code: a `target` may name any callable. Configs that a user names (`--base`, `--config`) are his
word; one that only lies beside weights goes through `check_targets` first.
"""

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args

from commands.errors import UserError

Made = TypeVar("Made")

MOVED = {  # old dotted path -> new one, so that run folders of earlier versions resume and predict
    "ldm.callbacks.gpu_stats.GpuStats": "ldm.callbacks.meters.GpuStats",
    "ldm.callbacks.smoothed_loss.SmoothedLoss": "ldm.callbacks.meters.SmoothedLoss",
    "ldm.callbacks.throughput.Throughput": "ldm.callbacks.meters.Throughput",
    "ldm.models.autoencoder_training.AutoencoderTraining": "ldm.models.first_stage_training.AutoencoderTraining",
    "ldm.modules.encoders.clip_similarity.ClipSimilarity": "ldm.modules.encoders.clip.ClipTowers",
    "ldm.models.diffusion.trainable.TrainedParts": "ldm.models.trained_parts.TrainedParts",
}
CONFIGURABLE = {  # module -> what of it a config may name that nobody vouches for; see check_targets
    "ldm.callbacks.image_logger": "ImageLogger",
    "ldm.callbacks.meters": "GpuStats SmoothedLoss Throughput",
    "ldm.data.base": "DataModuleFromConfig",
    "ldm.data.frame_pairs": "FramePairDataset",
    "ldm.data.futures": "EpisodeFutures",
    "ldm.data.goal_windows": "GoalWindows",
    "ldm.data.joint_windows": "JointWindows",
    "ldm.data.latent_cache": "CachedPairDataset",
    "ldm.data.mixture": "Mixture",
    "ldm.data.neighbours": "Neighbours",
    "ldm.data.transforms": "PairedAugmentation",
    "ldm.data.windows": "EpisodeWindows",
    "ldm.lr_scheduler": "LambdaLinearScheduler",
    "ldm.models.autoencoder": "AutoencoderKL PatchFirstStage VQModel",
    "ldm.models.diffusion.ddpm": "LatentDiffusion",
    "ldm.models.first_stage_training": "AutoencoderTraining",
    "ldm.models.joint.video_action": "JointVideoAction",
    "ldm.models.policy.chunk_policy": "ChunkPolicy",
    "ldm.models.tiny_autoencoder": "TinyAutoencoder TinyDecoder TinyEncoder",
    "ldm.models.trained_parts": "TrainedParts",
    "ldm.modules.diffusionmodules.blending": "BlendingUNet",
    "ldm.modules.diffusionmodules.openaimodel": "UNetModel",
    "ldm.modules.encoders.clip": "ClipTowers",
    "ldm.modules.encoders.modules": "ByteTextEmbedder FrozenCLIPEmbedder FrozenOpenCLIPEmbedder",
    "ldm.modules.foresight": "Foresight",
    "ldm.modules.joint.network": "JointNetwork",
    "ldm.modules.joint.picture_trunk": "PictureTrunk",
    "ldm.modules.losses.adversarial": "Adversary",
    "ldm.modules.losses.frame_loss": "FrameLoss",
    "ldm.modules.losses.lpips": "LPIPS PerceptualLoss",
    "ldm.modules.losses.semantic": "SemanticConstraint",
    "ldm.modules.policy.networks": "StateNetwork VisionNetwork",
    "pytorch_lightning.callbacks": "EarlyStopping LearningRateMonitor Timer",
}


def nearest_name(name: str, choices: list[str]) -> str:
    """Ending of a sentence about an unknown name: "; did you mean 'x'?" where one is near, else "."."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else "."


def current_path(target: Any) -> Any:
    """The dotted path under which a class is found today; what is no path comes back as it is."""
    return MOVED.get(target, target) if isinstance(target, str) else target


def check_targets(config: Any, *, trusted: bool = False, where: str = "the config") -> None:
    """Refuse a config that names anything but this project's own classes, before anything is imported or built.

    For configs that come with weights or a run folder, from wherever those come.

    Args:
        config: composed, its interpolations resolved.
        trusted: the user vouches for it (`--trust-config`); nothing is refused.
        where: what the config is, such as its path; the sentence begins with it.

    Raises:
        UserError: names the first `target`, at whatever depth, that is not in CONFIGURABLE.
    """
    places: list[tuple[str, Any]] = [] if trusted else [("", config)]
    while places:  # no recursion: the depth is the file's
        place, value = places.pop()
        if isinstance(value, list | tuple):
            places += [(f"{place}[{i}]", one) for i, one in enumerate(value)]
        if not isinstance(value, Mapping):
            continue
        places += [(f"{place}.{key}" if place else str(key), one) for key, one in value.items()]
        if "target" in value and not _is_configurable(value["target"]):
            raise UserError(
                f"{where}: {place or 'the top'} names {value['target']!r}, which is no class of this project; a config "
                "beside weights can run any code on this machine. If you know who wrote it and trust them, give "
                "--trust-config."
            )


def _is_configurable(target: Any) -> bool:
    module, _, name = current_path(target).rpartition(".") if isinstance(target, str) else ("", "", "")
    return name in CONFIGURABLE.get(module, "").split()


def get_obj_from_str(target: str, where: str = "target") -> Any:
    """Object under a dotted path such as `ldm.models.autoencoder.AutoencoderKL`.

    Args:
        target: `package.module.Name`.
        where: place in the config, for the message.

    Raises:
        UserError: if the module or the name does not exist.
    """
    module_name, _, name = current_path(str(target)).rpartition(".")
    if not module_name:
        raise UserError(f"{where}: '{target}' is not a dotted path; wanted 'package.module.Name'.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(missing + "."):
            raise UserError(f"{where}: there is no module '{missing}' for target '{target}'.") from error
        raise UserError(
            f"{where}: '{target}' needs the package '{missing}', which is not installed.\n"
            f"Install it with: pip install {missing.replace('_', '-')}"
        ) from error
    if hasattr(module, name):
        return getattr(module, name)
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module_name]
    raise UserError(
        f"{where}: module '{module_name}' has no '{name}'{nearest_name(name, own)} It has: {', '.join(own)}."
    )


def _parameters(target: Callable) -> tuple[list[inspect.Parameter], bool]:
    """Named parameters of a callable, and whether it takes any name beside them.

    A class whose constructor hands **others on takes its base's names as well.
    """
    if not inspect.isclass(target):
        signatures = [inspect.signature(target)]
    else:
        owners = [cls for cls in target.__mro__ if "__init__" in vars(cls)]
        signatures = [inspect.signature(cls.__init__) for cls in owners]
    takes: dict[str, inspect.Parameter] = {}
    for signature in signatures:
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != "self":
                takes.setdefault(parameter.name, parameter)
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            return list(takes.values()), False
    return list(takes.values()), True


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value may be given for a parameter so annotated; annotations of more than plain values take anything.

    nan is no number for anything that a config sets.
    """
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    if not set(kinds) <= {int, float, bool, str, NoneType}:
        return True
    if value is None or isinstance(value, bool | str):
        return type(value) in kinds
    if isinstance(value, float):
        return float in kinds and not math.isnan(value)
    return isinstance(value, int) and (int in kinds or float in kinds)


def _check_params(target: Callable, params: Mapping, where: str, given: tuple[str, ...]) -> None:
    """Refuse names that `target` does not take and name the required ones that are absent."""
    takes, open_ended = _parameters(target)
    names = [parameter.name for parameter in takes]
    label = getattr(target, "__name__", str(target))
    for name in params:
        if not isinstance(name, str):
            raise UserError(f"{where}: {name!r} is no name; YAML reads on, off, yes and no as truths, so quote them.")
        if name not in names and not open_ended:
            raise UserError(
                f"{where}: {label} has no parameter '{name}'{nearest_name(name, names)}\nIt takes: {', '.join(names)}."
            )
    for parameter in takes:
        if parameter.name in params and not _fits(params[parameter.name], parameter.annotation):
            wanted = getattr(parameter.annotation, "__name__", parameter.annotation)
            raise UserError(f"{where}.{parameter.name}: {params[parameter.name]!r}; {label} wants {wanted}.")
    present = {*params, *given}
    absent = [parameter.name for parameter in takes if parameter.default is parameter.empty]
    absent = [repr(name) for name in absent if name not in present]
    if absent:
        raise UserError(f"{where}: {label} needs {', '.join(absent)}, not given.")


def check_config(config: Mapping, where: str = "config", given: tuple[str, ...] = ()) -> None:
    """Check a `target` / `params` node and every node below it without building anything.

    Args:
        config: mapping with `target` and, if wanted, `params`.
        where: place of the node in the YAML, for messages.
        given: parameter names that code, not the YAML, will pass.
    """
    if not isinstance(config, Mapping) or "target" not in config:
        raise UserError(f"{where}: wanted a node with 'target' and 'params', got {type(config).__name__}.")
    extra = set(config) - {"target", "params"}
    if extra:
        name = sorted(map(str, extra))[0]
        hint = nearest_name(name, ["target", "params"])
        raise UserError(f"{where}: a node has exactly 'target' and 'params', found '{name}'{hint}")
    params = config.get("params") or {}
    _check_params(get_obj_from_str(config["target"], where), params, f"{where}.params", given)
    for name, value in params.items():
        if isinstance(value, Mapping):
            for place, node in _nodes_in(value, f"{where}.params.{name}"):
                check_config(node, place)


def _nodes_in(value: Mapping, where: str) -> Iterator[tuple[str, Mapping]]:
    """A node itself, or the nodes that a mapping holds by name, without what is said beside them (a weight)."""
    if "target" in value:
        yield where, value
        return
    for name, node in value.items():
        if isinstance(node, Mapping) and "target" in node:
            yield f"{where}.{name}", {key: node[key] for key in ("target", "params") if key in node}


def instantiate_from_config(config: Mapping, where: str = "config", **given: Any) -> Any:
    """Build what a `target` / `params` node describes.

    Args:
        config: mapping with `target` (dotted path) and `params` (keyword arguments).
        where: place of the node in the YAML, for messages.
        **given: arguments that code passes beside the YAML's.

    Raises:
        UserError: before construction, if a name is unknown or a required one is missing.
    """
    check_config(config, where, tuple(given))
    params = {**(config.get("params") or {}), **given}
    return get_obj_from_str(config["target"], where)(**params)


def make_from_params(kind: Callable[..., Made], params: Mapping, where: str, **given: Any) -> Made:
    """What the parameters of a class describe that a config does not name, since it is always the same one.

    Args:
        kind: the class.
        params: keyword arguments out of the YAML.
        where: their place in the YAML, for messages.
        **given: arguments that code passes beside the YAML's.

    Raises:
        UserError: before construction, if a name is unknown or a required one is missing.
    """
    if not isinstance(params, Mapping):
        raise UserError(f"{where}: wanted a mapping, got {params!r}.")
    _check_params(kind, params, where, tuple(given))
    return kind(**{**params, **given})


def describe_misfit(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """How the tensors of a file differ from a network's in names and shapes, for an error; None if they fit.

    Such as `2 tensors differ, first a.weight ((3, 4) in the file, absent in the network)`.
    """
    shapes, needed = ({name: tuple(value.shape) for name, value in side.items()} for side in (found, wanted))
    differing = sorted(name for name in shapes.keys() | needed.keys() if shapes.get(name) != needed.get(name))
    if not differing:
        return None
    name = differing[0]
    return (
        f"{len(differing)} tensors differ, first {name} ({shapes.get(name, 'absent')} in the file, "
        f"{needed.get(name, 'absent')} in the network)"
    )
