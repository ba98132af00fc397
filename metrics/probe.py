"""Makes a probe, which measures predicted frames in centimetres, from prepared episodes that know where things are.

    python -m dataset_tools.prepare_episodes --episodes data/sim --output data/probe --camera head_camera --size 128
    python -m metrics.probe --train data/probe --output probe.safetensors
    python -m metrics.compute_metrics --data data/prepared --split test --probe probe.safetensors --predictions runs/a

It learns from true frames of the training split alone. Interrupted, the same command goes on with the same result.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from commands.errors import UserError
from commands.run import run_command, show_progress
from formats.atomic import atomic_path
from formats.positions import GRIPPERS
from formats.predictions_folder import RECORDS
from formats.prepared_episodes import INDEX, MOTION, EpisodeFolder, positions_of
from formats.provenance import read_commit
from ldm.data.pixels import to_signed
from ldm.modules.ema import LitEma
from metrics.measures.probe_network import (
    CENTIMETRES,
    TRUE_FRAMES,
    PositionProbe,
    ProbeOrigin,
    ProbeShape,
    save_probe,
    write_numbers,
)

RATE, WEIGHT_DECAY = 2e-3, 0.01  # AdamW
WARM_UP, COOL_DOWN = 200, 0.3  # steps at the start in which the rate rises; share of them at the end in which it falls
AVERAGE = 0.998  # decay of the weights' moving average, which is what is kept
LEAST_SPREAD = 0.01  # metres: least scale of a slot
LIGHT = (0.6, 1.4)  # factors of a frame's brightness, evenly drawn from their logarithms
TINT, OFFSET, NOISE = 0.07, 0.05, 0.02  # of each channel's brightness; added; of a quarter of the frames
SAVE_EVERY, LOG_EVERY = 100, 100  # steps
FLOOR_FRAMES = 2000  # of the validation split, at equal distances
FLOOR_BATCH = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeRequest:
    """What to learn, checked when it is made."""

    folder: Path
    output: Path
    camera: str | None = None
    steps: int = 4000
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1:
            raise UserError(f"--steps {self.steps} --batch {self.batch}: wanted at least 1 of each.")

    @property
    def state(self) -> Path:
        """Where an unfinished training is kept."""
        return self.output.with_name(self.output.stem + ".training.safetensors")


class LabelledFrames:
    """Drawn frames of a split of prepared episodes, and where grippers and objects are in each.

    Args:
        folder: prepared episodes.
        split: train, val or test.
        camera: None takes the head camera, or the first there is.

    Raises:
        UserError: if there is nothing to learn from.
    """

    def __init__(self, folder: Path, split: str, camera: str | None) -> None:
        if (folder / RECORDS).is_file():
            raise UserError(f"{folder} holds predictions: a probe learns from true frames, of prepared episodes.")
        episodes = EpisodeFolder(folder, split)
        if not episodes.cameras:
            raise UserError(f"{folder} has no pictures: prepare it again from episodes with a camera.")
        self.source, head = episodes, "head_camera"
        self.camera = camera or (head if head in episodes.cameras else episodes.cameras[0])
        if self.camera not in episodes.cameras:
            raise UserError(f"{folder} has no camera '{camera}'; choose one of {', '.join(episodes.cameras)}.")
        self.places, self.moments = [], []
        for index, (episode, motion) in enumerate(zip(episodes.episodes, episodes.motions, strict=True)):
            found = positions_of(episode, motion)
            if not found:
                raise UserError(
                    f"{episode.episode_id} of {folder} does not say where grippers or objects are: prepare the folder "
                    "again, from hdf5 recordings of the simulator or of RoboTwin 2.0."
                )
            drawn = range(0, episode.length, episode.draw_every)
            self.places += [{name: rows[t] for name, rows in found.items()} for t in drawn]
            self.moments += [(index, picture) for picture in range(len(drawn))]
        known = {name for place in self.places for name in place}
        self.names = (*(name for name in GRIPPERS if name in known), *sorted(known - set(GRIPPERS)))

    @property
    def size(self) -> int:
        """Side of the pictures."""
        return self.source.frames(0, self.camera).shape[1]

    def __len__(self) -> int:
        return len(self.moments)

    def frames(self, chosen: Sequence[int]) -> Tensor:
        """(B, 3, S, S) in [-1, 1]."""
        pictures = (self.source.frames(index, self.camera)[t] for index, t in (self.moments[i] for i in chosen))
        return to_signed(rearrange(torch.from_numpy(np.stack(list(pictures))), "b h w c -> b c h w"))

    def table(self, names: Sequence[str]) -> Tensor:
        """(F, N, 3) metres; nan where a frame has no such slot."""
        nowhere = np.full(3, np.nan, np.float32)
        return torch.from_numpy(np.array([[place.get(name, nowhere) for name in names] for place in self.places]))

    @cached_property
    def sha256(self) -> str:
        """Digest of the index and of the numbers of all episodes of the split."""
        digest = hashlib.sha256((self.source.folder / INDEX).read_bytes())
        for episode in self.source.episodes:
            digest.update((self.source.folder / episode.episode_id / MOTION).read_bytes())
        return digest.hexdigest()

    @property
    def episodes(self) -> dict[str, str]:
        """Task => numbers of the episodes."""
        by_task: dict[str, list[int]] = {}
        for episode in self.source.episodes:
            by_task.setdefault(episode.task, []).append(episode.number)
        return {task: write_numbers(numbers) for task, numbers in sorted(by_task.items())}


def vary_light(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, 3, S, S) in [-1, 1] under other lights; a quarter as if it came from half the size, a quarter noisy.

    Nothing is moved: the camera stands still, and where things are is what is to be learned.
    """
    batch, _, size, _ = frames.shape

    def draw(*shape: int, most: float) -> Tensor:
        return torch.from_numpy(rng.uniform(-most, most, shape).astype(np.float32))

    light = torch.from_numpy(np.exp(rng.uniform(*np.log(LIGHT), (batch, 1, 1, 1))).astype(np.float32))
    unit = (frames + 1) / 2 * light * (1 + draw(batch, 3, 1, 1, most=TINT))
    unit = (unit + draw(batch, 1, 1, 1, most=OFFSET)).clamp(0, 1)
    blurred, noisy, rest = unit.tensor_split([batch // 4, batch // 2])
    if len(blurred):
        blurred = functional.interpolate(functional.avg_pool2d(blurred, 2), size=(size, size), mode="bicubic")
        noisy = noisy + torch.from_numpy(rng.normal(0, NOISE, tuple(noisy.shape)).astype(np.float32))
    return torch.cat([blurred, noisy, rest]).clamp(0, 1) * 2 - 1


def distances(found: Tensor, wanted: Tensor) -> Tensor:
    """(B, N, 3) metres twice => (B, N) centimetres; 0 and no gradient where a slot is unknown (nan)."""
    known = ~wanted.isnan().any(dim=-1)
    aside = torch.where(known[..., None], found - wanted, torch.zeros_like(found))
    return CENTIMETRES * (aside.square().sum(dim=-1) + 1e-12).sqrt() * known


class Training:
    """A probe and its optimiser; a step depends on its number and the seed alone."""

    def __init__(self, frames: LabelledFrames, request: ProbeRequest) -> None:
        self.frames, self.request = frames, request
        if frames.size % 4:
            raise UserError(f"pictures of {frames.size} pixels a side: wanted a multiple of 4; prepare them at 128.")
        self.table = frames.table(frames.names)
        torch.manual_seed(request.seed)
        self.probe = PositionProbe(ProbeShape(frames.names, frames.size)).to(memory_format=torch.channels_last)
        for slot, places in enumerate(self.table.unbind(dim=1)):
            rows = places[~places.isnan().any(dim=1)]
            self.probe.mean[slot], self.probe.std[slot] = rows.mean(dim=0), rows.std(dim=0).clamp(min=LEAST_SPREAD)
        self.average = LitEma(self.probe, AVERAGE)
        self.optimiser = torch.optim.AdamW(self.probe.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        self.step = 0

    @property
    def facts(self) -> dict[str, str]:
        """What a state must agree in to be gone on with."""
        options = asdict(self.request) | {"output": "", "folder": "", "steps": 0}
        return {"options": json.dumps(options), "data": self.frames.sha256}

    def rate(self, step: int) -> float:
        """Up, level, down: until it goes down the number of steps does not matter, and may be changed."""
        return RATE * min(1.0, (step + 1) / WARM_UP, (self.request.steps - step) / (COOL_DOWN * self.request.steps))

    def advance(self) -> float:
        """One step; returns the mean error in cm."""
        rng = np.random.default_rng((self.request.seed, self.step))
        chosen = rng.integers(len(self.frames), size=self.request.batch)
        frames = vary_light(self.frames.frames(chosen), rng).contiguous(memory_format=torch.channels_last)
        wanted = self.table[chosen]
        error = distances(self.probe(frames), wanted).sum() / (~wanted.isnan().any(dim=-1)).sum()
        self.optimiser.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(self.probe.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimiser.step()
        self.average.update(self.probe)
        self.step += 1
        return float(error.detach())

    def save(self) -> None:
        """Keep what the next step needs."""
        tensors = {f"probe.{name}": tensor for name, tensor in self.probe.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for number, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in values.items()}
        with atomic_path(self.request.state) as draft:
            metadata = self.facts | {"step": str(self.step), "steps": str(self.request.steps)}
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, metadata)

    def resume(self) -> None:
        """Go on where a training of the same options and data stopped; --steps may be others before the rate falls.

        Raises:
            UserError: if there is a state of other options or data.
        """
        path = self.request.state
        if not path.is_file():
            return
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            self.step, steps = int(metadata.get("step", 0)), int(metadata.get("steps", 0))
            falls = self.step > (1 - COOL_DOWN) * min(steps, self.request.steps)
            same = {name: metadata.get(name) for name in self.facts} == self.facts
            if not same or (falls and steps != self.request.steps):
                raise UserError(f"{path} is of other options or data; delete it, or choose another --output.")
            parts: dict[str, dict[str, Tensor]] = {"probe": {}, "average": {}, "optimiser": {}}
            for name in file.keys():  # noqa: SIM118 - no mapping
                part, _, rest = name.partition(".")
                parts[part][rest] = file.get_tensor(name)
        self.probe.load_state_dict(parts["probe"])
        self.average.load_state_dict(parts["average"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimiser"].items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        log.info("going on at step %d of %d.", self.step, self.request.steps)


@torch.inference_mode()
def measure_floor(probe: PositionProbe, frames: LabelledFrames) -> dict[str, list[float]]:
    """Median and 90th percentile in cm of each slot's error on true frames."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(FLOOR_FRAMES, len(frames))).round().astype(int))
    wanted = frames.table(probe.shape.names)[chosen]
    parts = (chosen[start : start + FLOOR_BATCH] for start in range(0, len(chosen), FLOOR_BATCH))
    error = distances(torch.cat([probe(frames.frames(part)) for part in parts]), wanted)
    known = ~wanted.isnan().any(dim=-1)
    by_slot = {name: error[known[:, slot], slot].numpy() for slot, name in enumerate(probe.shape.names)}
    return {name: np.percentile(e, (50, 90)).round(3).tolist() for name, e in by_slot.items() if len(e)}


def train_probe(request: ProbeRequest) -> ProbeOrigin:
    """Learn, measure on the validation split, and write the probe; returns what it learned from."""
    training = Training(LabelledFrames(request.folder, "train", request.camera), request)
    unseen = LabelledFrames(request.folder, "val", training.frames.camera)
    training.resume()
    errors: list[float] = []
    for _ in show_progress(range(training.step, request.steps), "probe", request.steps - training.step):
        errors.append(training.advance())
        if training.step % LOG_EVERY == 0:
            log.info("step %d: mean error %.2f cm", training.step, np.mean(errors[-LOG_EVERY:]))
        if training.step % SAVE_EVERY == 0:
            training.save()
    probe = training.average.average.eval()
    origin = ProbeOrigin(
        learned_from=TRUE_FRAMES,
        split="train",
        episodes=training.frames.episodes,
        data_sha256=training.frames.sha256,
        frames=len(training.frames),
        steps=request.steps,
        batch=request.batch,
        seed=request.seed,
        commit=read_commit(),
        floor_cm=measure_floor(probe, unseen),
    )
    save_probe(request.output, probe, origin)
    request.state.unlink(missing_ok=True)
    return origin


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m metrics.probe", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="FOLDER", help="prepared episodes with end poses or object poses")
    add("--output", type=Path, required=True, metavar="FILE", help="the probe, .safetensors")
    add("--camera", help="of the prepared episodes (default: the head camera, or the first)")
    add("--steps", type=int, default=ProbeRequest.steps, help=f"of the optimiser (default {ProbeRequest.steps})")
    add("--batch", type=int, default=ProbeRequest.batch, help=f"frames a step (default {ProbeRequest.batch})")
    add("--seed", type=int, default=ProbeRequest.seed)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Make a probe and say how well it sees; returns the exit code."""
    options = make_parser().parse_args(argv)

    def run() -> None:
        request = ProbeRequest(
            options.train, options.output, options.camera, options.steps, options.batch, options.seed
        )
        origin = train_probe(request)
        sys.stdout.write(f"{request.output}: error on unseen true frames of {request.folder}, median and 90 %\n")
        for name, (median, most) in origin.floor_cm.items():
            sys.stdout.write(f"  {name}: {median:.2f} cm, {most:.2f} cm\n")

    return run_command("python -m metrics.probe", run)


if __name__ == "__main__":
    sys.exit(main())
