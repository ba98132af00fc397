"""The position probe: a small network that reads from one frame where the grippers and the objects are.

Soft keypoints (ldm.modules.policy.networks, Levine et al., arXiv 1504.00702) and two linear layers; one slot a name,
so that which slots count is known from the pair or episode that is looked at. A file is a safetensors file whose
metadata says what the probe learned from: it is an instrument, and must not have seen what it measures.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from einops import rearrange
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from commands.errors import UserError
from formats.atomic import atomic_path, check_regular, parse_json
from formats.pictures import resize_square
from ldm.data.pixels import array_to_tensor, to_signed
from ldm.modules.policy.networks import KeypointEncoder, make_layers

KIND, METADATA = "position probe 1", "probe"
TRUE_FRAMES = "true frames"
Count = Annotated[int, Meta(ge=1, le=4096)]  # a file that declares more is no probe
SHARPNESS = 2.0  # logarithm, at the start of training: even maps would all have their place in the middle
CENTIMETRES = 100.0  # of a metre
MAKE = "make one with: python -m metrics.probe --train <prepared episodes> --output probe.safetensors"


@dataclass(frozen=True)
class ProbeShape:
    """Sizes of the network."""

    names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]  # of the slots: grippers, then objects
    size: Annotated[int, Meta(ge=8, le=1024)]  # side of the pictures in pixels, a multiple of 4
    channels: Count = 48
    keypoints: Count = 32
    blocks: Count = 2
    values: Count = 16
    hidden: Count = 256


@dataclass(frozen=True)
class ProbeOrigin:
    """What a probe learned from."""

    learned_from: str  # TRUE_FRAMES; nothing else is taken
    split: str
    episodes: dict[str, str]  # task => numbers of the episodes, "0-5,7"
    data_sha256: str  # of the folder's index and of the numbers of these episodes
    frames: int
    steps: int
    batch: int
    seed: int
    commit: str
    floor_cm: dict[str, list[float]]  # slot => median, 90th percentile on unseen true frames


@dataclass(frozen=True)
class _Facts:
    """Metadata of a file."""

    kind: Literal["position probe 1"]
    shape: ProbeShape
    origin: ProbeOrigin


class PositionProbe(nn.Module):
    """Frame => positions of all slots in metres; slots that are not in the picture hold anything."""

    mean: Tensor  # (N, 3) metres
    std: Tensor

    def __init__(self, shape: ProbeShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = KeypointEncoder(shape.channels, shape.keypoints, shape.blocks, shape.values)
        nn.init.constant_(self.encoder.log_sharpness, SHARPNESS)
        self.locate = make_layers(self.encoder.width, shape.hidden, 1, len(shape.names) * 3)
        self.register_buffer("mean", torch.zeros(len(shape.names), 3))
        self.register_buffer("std", torch.ones(len(shape.names), 3))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] => (B, N, 3) metres."""
        numbers = rearrange(self.locate(self.encoder(frames)), "b (n xyz) -> b n xyz", xyz=3)
        return self.mean + self.std * numbers

    @torch.inference_mode()
    def read_positions(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (H, W, 3) frame of any size => (3,) metres by name of the slot."""
        frame = to_signed(array_to_tensor(resize_square(pixels, self.shape.size)))
        return dict(zip(self.shape.names, self(frame[None])[0].numpy(), strict=True))


def save_probe(path: Path, probe: PositionProbe, origin: ProbeOrigin) -> None:
    """Write a probe with its sizes and what it learned from."""
    facts = {"kind": KIND, "shape": asdict(probe.shape), "origin": asdict(origin)}
    tensors = {name: tensor.contiguous() for name, tensor in probe.state_dict().items()}
    with atomic_path(path) as draft:
        save_file(tensors, draft, {METADATA: json.dumps(facts)})  # one entry: the order of several is chance


def load_probe(path: Path) -> tuple[PositionProbe, ProbeOrigin]:
    """A probe, ready to measure, and what it learned from.

    Raises:
        UserError: if the file is absent, damaged, no probe, or a probe that did not learn from true training frames.
    """
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA, "null")
            facts = parse_json(text, _Facts, where=f"{path} is no position probe: its metadata", mend=MAKE)
            probe = PositionProbe(facts.shape)
            probe.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} is no position probe, or not whole ({str(error).splitlines()[0]}); {MAKE}.") from error
    origin = facts.origin
    if origin.learned_from != TRUE_FRAMES or origin.split != "train":
        raise UserError(
            f"{path} learned from {origin.learned_from} of split '{origin.split}': a probe that measures must have "
            f"learned from {TRUE_FRAMES} of the training split; {MAKE}."
        )
    return probe.eval().requires_grad_(False), origin


def write_numbers(numbers: list[int]) -> str:
    """[0, 1, 2, 7] => "0-2,7"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def has_number(text: str, number: int) -> bool:
    """Whether `write_numbers` wrote this one."""
    runs = (run.partition("-") for run in text.split(",") if run)
    return any(int(first) <= number <= int(last or first) for first, _, last in runs)
