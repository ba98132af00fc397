"""What every benchmark shares: one clock, one counter of operations, one kind of row, the machine's rates, its pairs.

The pairs are JPEG pictures of smooth seeded noise in a prepared folder, so that reading them costs what real frames
cost. Both ways of training start there: online from the pictures, or from the latents that are cached from them.
"""

import contextlib
import gc
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.benchmark import timer
from torch.utils.flop_counter import FlopCounterMode

from formats.prepared_folder import FramePair, write_manifest
from formats.provenance import read_commit
from ldm.data.frame_pairs import collate
from ldm.data.latent_cache import build_cache
from ldm.training.config import compose
from ldm.util import instantiate_from_config

CONFIGS = Path(__file__).parent
MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
COPY_BYTES = {"cuda": 8 * 10**9, "cpu": 2 * 10**8}
REPEATS = 5  # of the products and copies that tell the machine's rates
JPEG_QUALITY = 95
COARSE = 16  # side of the noise that is enlarged to a picture: as smooth as frames are
MAX_WORKERS = 8
SENTENCES = ("stack blocks", "hand over the block", "beat the block with the hammer")

Action = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One measured row of a table."""

    row: str  # such as I1 or T7
    what: str
    value: float | None  # None where this machine cannot measure it
    unit: str = "s"
    peer: float | None = None  # the same of what it is compared with
    peer_name: str = ""
    spread: float | None = None  # largest minus smallest value of the rounds
    peer_spread: float | None = None
    floor: float = 0.0  # the least that is possible, in `unit`; 0 if nothing says what that is
    note: str = ""
    counted: dict[str, Any] = field(default_factory=dict)  # calls of networks, operations, memory

    @property
    def ratio(self) -> float:
        """The peer's value over ours: for seconds, how many times faster ours is."""
        return self.peer / self.value

    @property
    def is_clear(self) -> bool:
        """Whether the difference exceeds the spread of running the same side again."""
        return abs(self.peer - self.value) > max(self.spread, self.peer_spread)


def seconds_of(action: Action, repeats: int = 1) -> float:
    """Seconds of an action, the mean of `repeats` in a row; torch's `timer` waits for the device first."""
    begun = timer()
    for _ in range(repeats):
        action()
    return (timer() - begun) / repeats


def time_in_turns(actions: Sequence[Action], passes: int, repeats: int = 1) -> Iterator[list[list[float]]]:
    """Seconds of each action so far, after each pass; passes alternate (A B C, C B A), so that drift hits all alike."""
    seconds: list[list[float]] = [[] for _ in actions]
    for number in range(passes):
        order = list(enumerate(actions))
        for i, action in order if number % 2 == 0 else reversed(order):
            seconds[i].append(seconds_of(action, repeats))
        yield seconds


def summarise(values: Sequence[float]) -> tuple[float, float]:
    """Median, and spread: the largest minus the smallest."""
    return statistics.median(values), max(values) - min(values)


def median_seconds(action: Action, rounds: int) -> tuple[float, float]:
    """Median and spread of an action's seconds after one warm-up."""
    action()
    return summarise([seconds_of(action) for _ in range(rounds)])


def median_rate(action: Action, count: int, rounds: int) -> tuple[float, float]:
    """Median and spread of how many of `count` things a second an action does, after one warm-up."""
    action()
    return summarise([count / seconds_of(action) for _ in range(rounds)])


def eager() -> contextlib.AbstractContextManager:
    """Context in which compiled networks run as they are written, so that hooks and counters see every call."""
    return torch.compiler.set_stance("force_eager")


def count_flop(action: Action) -> int:
    """Floating-point operations, two a multiply-add; on the CPU, unlike on the meta device, attention is left out."""
    with eager(), FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops()


def peak_mib(action: Action, device: torch.device) -> float | None:
    """Largest memory of the GPU during an action; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    action()
    return torch.cuda.max_memory_allocated(device) / 2**20


def free_memory() -> None:
    """Give back what the last row held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def own_device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def measure_rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Best matrix-product rate (FLOP/s) on random data and copy rate (bytes/s, read and written) of this machine."""
    side = MATRIX_SIDE.get(device.type, 1024)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.empty(COPY_BYTES.get(device.type, 10**8), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = min(seconds_of(lambda: a @ b) for _ in range(REPEATS))
    copy = min(seconds_of(lambda: target.copy_(source)) for _ in range(REPEATS))
    return 2 * side**3 / product, 2 * source.numel() / copy


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Device, versions, threads, load, commit and command of this run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "commit": read_commit(),
        "command": "python -m benchmark " + " ".join(sys.argv[1:]),
    }


def read_size(size: str, *overlays: str) -> dict[str, Any]:
    """Config of a model: full.yaml, under <size>.yaml and the overlays beside it.

    Args:
        size: full is InstructPix2Pix's own, tiny a twin for CPUs.
        overlays: names of further files; the one of a size, <name>_<size>.yaml, is taken where it exists.
    """
    names = ["full", *([size] if size != "full" else [])]
    for overlay in overlays:
        names += [name for name in (overlay, f"{overlay}_{size}") if (CONFIGS / f"{name}.yaml").is_file()]
    return compose([CONFIGS / f"{name}.yaml" for name in names])


def write_pairs(folder: Path, num: int, side: int) -> Path:
    """A prepared folder of `num` pairs of `side` pixels; left as it is where it is whole already."""
    if (folder / "index.jsonl").is_file():
        return folder
    chance = np.random.default_rng(0)
    pairs = []
    for i in range(num):
        pair = FramePair(f"noise/{i}/0-1", f"{i:07d}", "000000", SENTENCES[i % len(SENTENCES)], split="train")
        (folder / pair.sample).mkdir(parents=True, exist_ok=True)
        for path in (pair.source_path(folder), pair.target_path(folder)):
            picture = Image.fromarray(chance.integers(0, 256, (COARSE, COARSE, 3), np.uint8))
            picture.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=JPEG_QUALITY)
        pairs.append(pair)
    write_manifest(folder, pairs, {"made_by": "benchmark"})
    return folder


class Bench:
    """The place where training is measured.

    Args:
        config: of the model; see `read_size`.
        device: to run on.
        folder: for pairs and caches; temporary.
        dtype: of the forward pass, by autocast, as Lightning's mixed precisions do it.
        num_pairs: on disk.
    """

    def __init__(
        self, config: dict, device: torch.device, folder: Path, dtype: torch.dtype | None = None, num_pairs: int = 64
    ) -> None:
        self.config = config
        self.resolution = config["resolution"]
        self.device = device
        self.folder = folder
        self.dtype = dtype or torch.get_default_dtype()
        self.num_pairs = num_pairs
        # as main.py has it
        self.num_workers = 0 if device.type == "cpu" else min(MAX_WORKERS, (os.cpu_count() or 1) - 1)

    @property
    def is_mixed(self) -> bool:
        """Whether the forward pass runs in less than the weights' precision."""
        return self.dtype != torch.get_default_dtype()

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context of forward passes."""
        return torch.autocast(self.device.type, self.dtype) if self.is_mixed else contextlib.nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Scaler of the loss; it only scales in half precision, whose small gradients would vanish."""
        return torch.amp.GradScaler(self.device.type, enabled=torch.finfo(self.dtype).smallest_normal > 1e-30)

    @property
    def node(self) -> dict[str, Any]:
        """Config node of the pairs as pictures."""
        folder = write_pairs(self.folder / "pairs", self.num_pairs, self.resolution)
        params = {"folder": str(folder), "split": "train", "resolution": self.resolution}
        return {"target": "ldm.data.frame_pairs.FramePairDataset", "params": params}

    def cached_node(self, model: nn.Module, *, frames: bool) -> dict[str, Any]:
        """Config node of the pairs as latents, made with the encoders of a model where that is not done yet."""
        folder = self.folder / ("latents_and_frames" if frames else "latents")
        if not (folder / "cache.json").is_file():
            self.build_cache(model, folder, frames=frames)
        return {"target": "ldm.data.latent_cache.CachedPairDataset", "params": {"folder": str(folder)}}

    def build_cache(self, model: nn.Module, folder: Path, *, frames: bool = False) -> None:
        """Decode and encode all pairs."""
        training = model.training
        with self.autocast():
            options = {"keep_frames": frames, "num_workers": self.num_workers}
            build_cache(model.eval(), instantiate_from_config(self.node, "data"), {}, folder, **options)
        model.train(training)

    def read(self, data: Any, rows: Sequence[int]) -> dict[str, Any]:
        """A batch of some pairs on the device, as a loader without workers makes it."""
        keys = [(i, i) for i in rows]
        batch = collate(data.__getitems__(keys) if hasattr(data, "__getitems__") else [data[key] for key in keys])
        return batch | {k: v.to(self.device) for k, v in batch.items() if torch.is_tensor(v) and k != "seed"}
