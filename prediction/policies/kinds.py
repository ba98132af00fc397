"""Policies that run_policy.py can play: a run folder of ours, anybody's function, or a server that speaks HTTP.

    logs/<run>                 a policy that main.py trained
    joint:logs/<run>           a model of video and action, which also imagines where its actions lead
    imagine:logs/<run>         the same, which imagines first, and acts to get there
    package.module:name        a function of an observation, or a class with reset and act
    http://host:port           a server, such as `python -m prediction.policies.server` starts
    nearest:<folder>           replay of the nearest of prepared episodes, a baseline
    lerobot:<path or Hub id>   a policy of LeRobot's, where that is installed

An observation is a dictionary, see simulator.rollout; the answer is a table of targets (K, 14). Over HTTP both travel
as npz without pickles: POST /act and POST /reset, observation in, array `targets` out.
"""

import importlib
import io
import json
import os
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from commands.errors import UserError

LARGEST_BODY = 64 * 1024**2  # bytes of one message, packed or unpacked
TIMEOUT = 30.0  # seconds that a server may take for an answer
ACT, RESET = "/act", "/reset"
AS_DRAWN = 0  # how a server says the size None: arrays alone travel


class FunctionPolicy:
    """Somebody's function (observation) -> (K, 14), or an object with `act` and, optionally, `reset`."""

    def __init__(self, target: Any) -> None:
        self._target = target() if isinstance(target, type) else target
        self.cameras = tuple(getattr(self._target, "cameras", ("head",)))
        self.size = int(getattr(self._target, "size", 128))
        self.privileged = bool(getattr(self._target, "privileged", False))
        self._act: Callable = getattr(self._target, "act", self._target)

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Pass the instruction on, where the object has a `reset`."""
        if hasattr(self._target, "reset"):
            self._target.reset(instruction)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """The function's answer, unchecked; simulator.rollout checks it."""
        return self._act(observation)


class RemotePolicy:
    """A policy behind HTTP, in a process, environment or machine of its own.

    Args:
        address: such as http://localhost:8700.
        timeout: seconds for an answer.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        self.address, self.timeout = address.rstrip("/"), timeout
        wants = self._post(RESET, {"instruction": "", "task": "", "seed": 0})
        try:
            self.cameras = tuple(str(name) for name in np.atleast_1d(wants["cameras"]) if str(name))
            size = int(wants["size"])
            self.size, self.privileged = None if size == AS_DRAWN else size, bool(wants["privileged"])
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{address} did not say which cameras and size it wants ({error}).") from error

    def reset(self, instruction: str, task: str, seed: int) -> None:
        """Tell the server that an episode begins."""
        self._post(RESET, {"instruction": instruction, "task": task, "seed": seed})

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(K, 14) targets that the server answers."""
        answer = self._post(ACT, observation)
        if "targets" not in answer:
            raise UserError(f"{self.address} answered {', '.join(answer) or 'nothing'}; wanted an array 'targets'.")
        return answer["targets"]

    def _post(self, path: str, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        request = urllib.request.Request(self.address + path, data=pack(values), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310 - the user's address
                body = response.read(LARGEST_BODY + 1)
        except TimeoutError as error:
            raise UserError(f"{self.address} did not answer within {self.timeout:g} s.") from error
        except urllib.error.HTTPError as error:
            raise UserError(f"{self.address} answered {error.code} {error.reason}: {_first_line(error)}") from error
        except (OSError, ValueError, EOFError) as error:  # refused, reset, no address, cut short
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise UserError(f"{self.address} did not answer within {self.timeout:g} s.") from error
            raise UserError(f"{self.address} cannot be asked ({reason}); is the policy's server running?") from error
        return unpack(body, self.address)


def _first_line(error: urllib.error.HTTPError) -> str:
    return error.read(1000).decode("utf-8", "replace").strip().split("\n")[0]


def pack(values: Mapping[str, Any]) -> bytes:
    """Arrays, numbers, sentences and a dictionary of pictures as npz bytes."""
    flat = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    flat |= {f"{key}/{name}": value for key, inner in values.items() if isinstance(inner, Mapping)
             for name, value in inner.items()}  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.asarray(value) for key, value in flat.items()})
    return buffer.getvalue()


def unpack(body: bytes, whose: str) -> dict[str, np.ndarray]:
    """The arrays of npz bytes that somebody sent; nothing in them is executed, and no more is read than they may hold.

    Raises:
        UserError: if the bytes are no npz, hold objects, or unpack to more than LARGEST_BODY.
    """
    if len(body) > LARGEST_BODY:
        raise UserError(f"{whose} sent more than {LARGEST_BODY // 1024**2} MiB.")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_BODY:
                raise UserError(f"{whose} sent arrays of more than {LARGEST_BODY // 1024**2} MiB.")
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except UserError:
        raise
    except Exception as error:  # a damaged archive or header can raise nearly anything
        raise UserError(f"{whose} sent something that is no npz of plain arrays ({error}).") from error


def as_observation(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The observation that `pack` flattened: pictures by camera, sentences and numbers as such."""
    pixels = {name.removeprefix("pixels/"): value for name, value in arrays.items() if name.startswith("pixels/")}
    rest = {name: value for name, value in arrays.items() if not name.startswith("pixels/")}
    return {"pixels": pixels} | {name: value if value.ndim else value.item() for name, value in rest.items()}


def import_policy(text: str) -> FunctionPolicy:
    """`package.module:name` => a policy; modules beside the caller's own folder are found.

    Raises:
        UserError: if there is no such module or name, or it cannot be called.
    """
    module_name, _, name = text.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(f"--policy {text}: there is no module {error.name}; wanted package.module:function.") from error
    if not hasattr(module, name):
        raise UserError(f"--policy {text}: {module_name} has no {name!r}.")
    target = getattr(module, name)
    if not callable(target) and not hasattr(target, "act"):
        raise UserError(f"--policy {text}: {name} is no function of an observation and has no method act.")
    return FunctionPolicy(target)


def load_policy(text: str) -> Any:
    """The policy that `--policy` names.

    Raises:
        UserError: if it is none of these kinds, or cannot be loaded.
    """
    if text.startswith(("http://", "https://")):
        return RemotePolicy(text)
    kind, _, rest = text.partition(":")
    if kind == "nearest":
        from prediction.policies.nearest import NearestReplay

        return NearestReplay(Path(rest))
    if kind == "lerobot":
        from prediction.policies.lerobot import load_lerobot_policy

        return load_lerobot_policy(rest)
    mode = kind if kind in ("joint", "imagine") else "policy"
    path = Path(text if mode == "policy" else rest)
    if path.exists():
        from prediction.policies.load import load_run_policy

        return load_run_policy(path, mode)
    if ":" in text:
        return import_policy(text)
    raise UserError(
        f"--policy {text}: there is no such run folder; wanted a run folder, package.module:function, "
        "http://host:port, nearest:<prepared episodes>, lerobot:<path or id>, replay or still."
    )


def describe(policy: Any, text: str) -> dict[str, Any]:
    """What tells one policy from another in a rollouts folder."""
    settings = getattr(policy, "settings", dict)()
    return {"policy": text, "cameras": list(policy.cameras), "size": policy.size} | json.loads(json.dumps(settings))
