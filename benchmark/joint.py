"""Seconds of a model of video and action in each of its modes: python -m benchmark joint

    python -m benchmark joint --size nano --output metrics/results/speed    first weights: speed needs no others
    python -m benchmark joint --ckpt logs/joint_stage_3                     a run's own network

One observation at a time, as a robot asks: pictures are encoded, the sentence is embedded, the answer is decoded. Its
goals: nano acts within 60 ms on one CPU core; base within 50 ms, and 300 ms with frames, on an H200.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmark.measuring import count_flop, machine_facts, peak_mib, seconds_of, summarise
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request
from commands.errors import UserError
from formats.run_folder import find_run
from ldm.data.joint_windows import JointBatch
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.models.joint.levels import MODES
from ldm.models.joint.prediction import check_mode, predict
from ldm.models.joint.video_action import JointVideoAction
from ldm.training.config import compose
from ldm.util import check_targets, instantiate_from_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGE = CONFIGS / "recipes" / "joint_stage_3.yaml"
SIZES = tuple(sorted(path.stem for path in (CONFIGS / "joint").glob("*.yaml")))
MANY_STEPS = 10  # of frames, where training visited all levels
ANCHORS = (  # printed by others, on other machines with other inputs: an order of magnitude, no comparison
    ("P1", "the deck's system, a call, RTX 4090", 1.0, "as printed: about 1 s"),
    ("P2", "UVA, a policy's call", 0.23, "as printed, arXiv 2503.00200"),
)
SAID = (
    "Batch 1; median of the rounds, their 95th percentile beside it; an action is a part of the chunk that is executed."
)


@dataclass(frozen=True)
class JointRequest(Request):
    """What is to be measured."""

    size: str = flag("nano", "overlay of configs/joint", SIZES)
    ckpt: Path | None = flag(None, "a run instead, with the network of its config")
    modes: tuple[str, ...] = flag(MODES, "which", MODES)
    rounds: int = flag(30, "calls of each mode, after three that are not counted")
    output: Path | None = flag(None, "folder for benchmark_joint_<size>_<device>.json and .md")

    @property
    def name(self) -> str:
        """Of the size, or of the run."""
        return self.ckpt.name if self.ckpt else self.size


def make_model(request: JointRequest) -> JointVideoAction:
    """The network that is asked for, with its first weights; no average beside it.

    Raises:
        UserError: if a run is no model of video and action.
    """
    paths = (
        [STAGE, CONFIGS / "joint" / f"{request.size}.yaml"]
        if request.ckpt is None
        else [find_run(request.ckpt)[0].config]
    )
    node = compose(paths)["model"]
    check_targets(node, where=str(paths[-1]))
    torch.manual_seed(0)
    model = instantiate_from_config({**node, "params": {**node["params"], "ema_decay": 0}}, "model")
    if not isinstance(model, JointVideoAction):
        raise UserError(f"{paths[-1]} holds a {type(model).__name__}; wanted a model of video and action.")
    return model.eval().to(request.device)


def make_observation(model: JointVideoAction) -> JointBatch:
    """One observation of noise, with what forward and inverse dynamics are told."""
    device = next(model.parameters()).device
    size = model.actions.state_size if model.actions else 1
    chunk = model.actions.chunk if model.actions else 1

    def frames() -> dict[str, torch.Tensor]:
        return {
            camera: torch.rand(1, 1, 3, side, side, device=device) * 2 - 1 for camera, side in model.cameras.items()
        }

    there = {camera: torch.ones(1, dtype=torch.bool, device=device) for camera in model.cameras}
    zeros = torch.zeros(1, size, device=device)
    return {
        "frames": frames(),
        "view_valid": there,
        "history": torch.zeros(1, 1, device=device),
        "future": frames(),
        "seconds": torch.full((1, 1), 4.0, device=device),
        "command": zeros,
        "measured": zeros,
        "past_commands": torch.zeros(1, 0, size, device=device),
        "state_valid": torch.ones(1, dtype=torch.bool, device=device),
        "actions": torch.zeros(1, chunk, size, device=device),
        "instruction": ["beat the block with the hammer"],
    }


def measure_modes(model: JointVideoAction, request: JointRequest) -> Iterator[Row]:
    """A row for each mode that the model has."""
    batch = make_observation(model)
    options = SamplingOptions(model.video.training_steps or MANY_STEPS, 1.0, 1.0)
    for number, mode in enumerate(MODES, start=1):
        if mode not in request.modes:
            continue
        try:
            check_mode(model, mode)
        except UserError as error:
            yield Row(f"J{number}", mode, None, note=str(error))
            continue

        def call(mode: str = mode) -> object:
            return predict(model, batch, mode, [0], options)

        seconds = [seconds_of(call) for _ in range(3 + request.rounds)][3:]
        median, spread = summarise(seconds)
        acts = mode in ("policy", "joint", "inverse")
        counted = {
            "p95": float(np.percentile(seconds, 95)),
            "seconds an action": median / model.actions.execute if acts else None,
            "steps of frames": options.steps if mode in ("video", "joint", "forward") else None,
            "GFLOP": count_flop(call) / 1e9,
            "peak MiB": peak_mib(call, request.device),
        }
        yield Row(f"J{number}", mode, median, spread=spread, counted=counted)


def run(request: JointRequest) -> str:
    """Measure, and write the table after each row; the page."""
    model = make_model(request)
    parts = model.describe_parts()
    facts = machine_facts(request.device) | {"size": request.name, "parameters": f"{sum(parts.values()) / 1e6:.2f} M"}
    facts |= {"rounds": request.rounds, "chunk": model.actions.chunk if model.actions else None}
    path = request.output and request.output / f"benchmark_joint_{request.name}_{request.device.type}"
    table = Table("Speed of video and action", facts, path, SAID)
    for row in measure_modes(model, request):
        table.add(row, "measured here")
    for row, what, seconds, note in ANCHORS:
        table.add(Row(row, what, seconds, note=note), "printed by others")
    return table.text


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    sys.stdout.write(run(read_request(JointRequest, argv, "joint", __doc__)))
    return 0
