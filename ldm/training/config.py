"""Reading, merging and saving the YAML files that describe a run.

`--base a.yaml b.yaml key=value` merges left to right. Where a later file names another `target` for a node, the node is
replaced whole: parameters of the old class mean nothing to the new one.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from commands.errors import UserError
from formats.atomic import write_text
from ldm.training.keys import KNOWN, TOP_LEVEL, check_names
from ldm.util import current_path, nearest_name

EXTENDS = "extends"  # a file's parent, by a path relative to the file


def read_yaml(path: Path) -> dict:
    """One file over the one that its key `extends` names, as plain containers, interpolations unresolved.

    Raises:
        UserError: if a file is absent, is no YAML mapping, or extends itself.
    """
    contents, chain = [_read_one(path)], [Path(path)]
    while EXTENDS in contents[-1]:
        chain.append(chain[-1].parent / str(contents[-1].pop(EXTENDS)))
        if chain[-1].resolve() in [seen.resolve() for seen in chain[:-1]]:
            raise UserError(f"{path}: it extends itself, by way of {' -> '.join(map(str, chain))}.")
        contents.append(_read_one(chain[-1]))
    return reduce(merge, reversed(contents))  # from the oldest on: what a file replaced whole does not come back


def _read_one(path: Path) -> dict:
    path = Path(path)
    if not path.is_file():
        hint = nearest_name(path.name, [p.name for p in path.parent.glob("*.yaml")])
        raise UserError(f"there is no config file {path}{hint}")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:  # OSError: for a lone value
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; a config has a dozen levels.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: wanted a mapping with the keys {', '.join(TOP_LEVEL)}, got {type(content).__name__}.")
    return content


def merge(base: Mapping, overlay: Mapping) -> dict:
    """`overlay` over `base`, recursively; a node with another `target` replaces the old one whole."""
    if "target" in overlay and current_path(overlay["target"]) != current_path(base.get("target", overlay["target"])):
        return dict(overlay)
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_value(text: str) -> Any:
    """A value from the command line, read as the same words in a file are: 1e-4 is a number.

    Raises:
        UserError: if it is not valid YAML.
    """
    try:
        return OmegaConf.to_container(OmegaConf.create("value:\n" + indent(text, "  ")))["value"]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"'{text}' is not valid YAML ({reason}); close brackets, quote what is no number.") from error


def parse_override(text: str) -> dict:
    """`a.b.c=value` as nested dictionaries; the value is read as YAML."""
    key, separator, value = text.partition("=")
    if not separator or not key or key.startswith("-"):
        raise UserError(f"'{text}' is neither a flag nor an override; overrides look like model.params.name=value.")
    nested = parse_value(value)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return nested


def _check_override(config: Mapping, override: Mapping, path: str = "") -> None:
    """An override may add a parameter to a node, but not invent a section."""
    for key, value in override.items():
        where = f"{path}{key}"
        known = KNOWN.get(path.removesuffix("."), tuple(config))
        if key not in known and not path.endswith(("params.", "callbacks.")):
            hint = nearest_name(key, list(map(str, known)))
            raise UserError(f"{where}: no such key in the config{hint} It has: {', '.join(map(str, known))}.")
        if isinstance(value, Mapping) and isinstance(config.get(key), Mapping):
            _check_override(config[key], value, f"{where}.")


def compose(base: Sequence[Path], overrides: Sequence[str] = ()) -> dict:
    """The config of a run as plain containers, interpolations resolved.

    Args:
        base: YAML files, merged left to right.
        overrides: `key.key=value`, merged last.

    Raises:
        UserError: names the file or key at fault and the mend.
    """
    return resolve_config(merge_files(base, overrides))


def merge_files(base: Sequence[Path], overrides: Sequence[str] = ()) -> dict:
    """What `compose` composes, its interpolations as they are written."""
    config: dict = {}
    for path in base:
        config = merge(config, read_yaml(path))
    check_names(config)
    for text in overrides:
        override = parse_override(text)
        _check_override(config, override)
        config = merge(config, override)
    check_names(config)
    return config


def resolve_config(config: Mapping) -> dict:
    """A merged config with each `${...}` replaced by its value."""
    try:
        return OmegaConf.to_container(OmegaConf.create(dict(config)), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the config does not resolve: {' '.join(str(error).split())}") from error


def save_config(config: Mapping, path: Path, header: str = "") -> None:
    """Write a config; a valid `--base`: as it has its interpolations, an override reaches all that refers to it."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    write_text(path, comment + yaml.safe_dump(dict(config), sort_keys=False, width=110, allow_unicode=True))
