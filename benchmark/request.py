"""Flags of every benchmark: each field of a frozen request is one, with its default, help and choices.

A field without a default of its own takes the one of the device that is found.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, TypeVar, get_args, get_origin

import torch

from benchmark.measuring import fastest_device
from commands.errors import UserError

Kind = TypeVar("Kind", bound="Request")


def flag(default: Any, said: str, choices: Iterable[str] | None = None) -> Any:
    """Field of a request.

    Args:
        default: None where it depends on the device, or where the flag may be absent.
        said: in --help.
        choices: the values that are allowed; None allows all.
    """
    return field(default=default, metadata={"said": said, "choices": choices and tuple(choices)})


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Raises:
        UserError: if a number is below one, or a name is none of its choices.
    """

    by_device: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # device type: values of fields that are None

    def __post_init__(self) -> None:
        for name, value in self.by_device.get(self.device.type, self.by_device.get("cpu", {})).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            given = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise UserError(f"{_flag_of(item.name)} {value}: wanted at least 1.")
            if choices and not set(given) <= {*choices}:
                raise UserError(f"{_flag_of(item.name)} {' '.join(given)}: wanted {' or '.join(choices)}.")

    @property
    def device(self) -> torch.device:
        """The device to measure on."""
        return fastest_device()


def read_request(kind: type[Kind], argv: Sequence[str], name: str, about: str) -> Kind:
    """The request that the arguments of `python -m benchmark <name>` describe."""
    return kind(**vars(make_parser(kind, name, about).parse_args(argv)))


def make_parser(kind: type[Request], name: str, about: str) -> argparse.ArgumentParser:
    """Parser of the flags of a kind of request; `about` comes first in --help."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"python -m benchmark {name}", description=about, formatter_class=style)
    for item in fields(kind):
        said, choices = item.metadata["said"], item.metadata["choices"]
        defaults = [f"{values[item.name]} on {of}" for of, values in kind.by_device.items() if item.name in values]
        said += f"; default: {', '.join(defaults)}" if defaults else ""
        parsed: dict[str, Any] = {"action": "store_true"}
        if item.type is not bool:
            several = get_origin(item.type) is tuple
            types = [of for of in get_args(item.type) or (item.type,) if of not in (NoneType, Ellipsis)]
            shown = f"{{{','.join(choices)}}}" if choices else None
            parsed = {"type": types[0], "default": item.default, "metavar": shown, "nargs": "+" if several else None}
        parser.add_argument(_flag_of(item.name), help=said, **parsed)
    return parser


def _flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"
