"""What a checkpoint's network was trained to predict, at which noise levels: by its own words, or by its run's config.

Imports PyYAML only. The weights of a noise network do not tell its schedule, so a file of a run is read
together with the config.yaml beside it, and a file that `convert` wrote holds the same words itself.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from commands.errors import UserError

SD_SCHEDULE = {"timesteps": 1000, "linear_start": 0.00085, "linear_end": 0.012, "parameterization": "eps"}


def _parameterization(value: Any) -> str:
    if value not in ("eps", "x0", "v"):
        raise UserError(f"'{value}' is not one of eps, x0, v")
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "timesteps": int,
    "linear_start": float,
    "linear_end": float,
    "parameterization": _parameterization,
    "terminal_signal": float,  # this project's own: see NoiseSchedule
    "predict_change": lambda value: str(value).lower() == "true",  # this project's own: see LatentDiffusion
}


def run_params(path: Path) -> dict[str, Any]:
    """model.params of the config.yaml of the run that a checkpoint lies in; empty where there is none.

    Raises:
        ValueError: if the config is damaged.
    """
    for folder in (path.parent, path.parent.parent):
        config = folder / "config.yaml"
        if config.is_file():
            try:
                content = yaml.safe_load(config.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                first = str(error).splitlines()[0]
                raise UserError(f"{config}, beside {path.name}, is not YAML ({first}): mend it or move it.") from error
            try:
                return dict(content["model"]["params"])
            except (KeyError, TypeError, ValueError):
                return {}
    return {}


def schedule_of_words(words: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Schedule by a config's parameters or a file's metadata; Stable Diffusion's for what they do not say.

    `terminal_signal` and `predict_change` are there only where they are set.

    Raises:
        ValueError: if a value is none of its kind.
    """
    schedule: dict[str, Any] = dict(SD_SCHEDULE)
    for key, read in _READ.items():
        if words.get(key) is None:
            continue
        try:
            schedule[key] = read(words[key])
        except (TypeError, ValueError) as error:
            raise UserError(
                f"the schedule of {where} cannot be read, {key} is '{words[key]}' ({error}): write a plain value into "
                "the config.yaml beside it, or convert it again."
            ) from error
    if not schedule.get("predict_change"):
        schedule.pop("predict_change", None)
    return schedule
