"""Time to the first frame on disk, in processes of their own: python -m benchmark cold_start

    python -m benchmark cold_start --output metrics/results/speed   edit_cli.py, bundled model, against bare imports

Row I9 of the inference benchmark is here too: edit_cli.py with a checkpoint and its config against diffusers.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image
from safetensors.torch import save_file
from torch.utils.benchmark import timer

from benchmark.measuring import machine_facts, summarise
from benchmark.peers import make_model, make_pipeline, prediction_config
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request

ROOT = Path(__file__).resolve().parents[1]
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # where torch.compile keeps what it compiled
WEIGHTS, CONFIG, PEER, PICTURE = "model.safetensors", "config.yaml", "peer", "now.png"
IMPORTS = "import torch, numpy, PIL"  # the least that a prediction needs
GOAL = 1.6  # times the CPU seconds of IMPORTS
HEAVY = ("pytorch_lightning", "torchmetrics", "transformers", "matplotlib")  # what only training or measuring needs
LISTING = f"""
import runpy, sys
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *(name for name in {HEAVY} if name in sys.modules))
"""


@dataclass(frozen=True)
class ColdStartRequest(Request):
    """What is to be measured."""

    rounds: int = flag(5, "of both processes in turns")
    output: Path | None = flag(None, "folder for cold_start.json and cold_start.md")


@dataclass(frozen=True)
class ProcessTime:
    """What a Python process took, and what it printed."""

    seconds: float
    cpu_seconds: float
    output: str


def time_process(argv: Sequence[object], variables: Mapping[str, str] | None = None) -> ProcessTime:
    """Run a Python process to its end.

    Raises:
        RuntimeError: with the end of its error stream, if it failed.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), timer()
    environment = {**os.environ, **(variables or {})}
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))} failed: {done.stderr.strip()[-500:]}")
    seconds, after = timer() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return ProcessTime(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def write_sides(size: str, folder: Path) -> None:
    """Checkpoint and config of ours, diffusers' folder with the same weights, and a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    config = prediction_config(size)
    model = make_model(config)
    make_pipeline(model, config).save_pretrained(folder / PEER)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    config["sampling"] = {"steps": 1, "text_scale": 1.0, "image_scale": 1.0}
    (folder / CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    Image.new("RGB", (config["resolution"], config["resolution"]), "grey").save(folder / PICTURE)


def seconds_of_ours(folder: Path, precision: str, compile_cache: Path | None = None) -> float:
    """Wall time of edit_cli.py; with torch.compile where a folder for what it compiled is given."""
    argv = ["edit_cli.py", "--ckpt", folder / WEIGHTS, "--config", folder / CONFIG, "--input", folder / PICTURE]
    argv += ["--edit", "stack blocks", "--output", folder / "ours.png", "--precision", precision]
    variables = {CACHE_VARIABLE: str(compile_cache or folder)}
    return time_process([*argv, *(["--compile"] if compile_cache else [])], variables).seconds


def seconds_of_theirs(folder: Path, precision: str) -> float:
    """Wall time of diffusers' few lines."""
    return time_process(["-m", "benchmark.peer_process", folder, precision]).seconds


def prepare_prediction(folder: Path) -> list[object]:
    """Put a picture into a folder; returns the words of edit_cli.py that predict from it with the bundled model."""
    Image.new("RGB", (128, 128), "grey").save(folder / PICTURE)
    return ["edit_cli.py", "--input", folder / PICTURE, "--edit", "stack blocks", "--output", folder / "ours.png"]


def measure_imports(rounds: int) -> Row:
    """CPU seconds of edit_cli.py on one picture with the bundled model against the bare imports, in turns."""
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as name:
        argv = prepare_prediction(Path(name))
        heavy = time_process(["-c", LISTING, *argv]).output.rpartition("loaded:")[2].split()  # and a warm-up
        for _ in range(rounds):
            bare.append(time_process(["-c", IMPORTS]).cpu_seconds)
            ours.append(time_process(argv).cpu_seconds)
    (median, spread), (least, spread_of_least) = summarise(ours), summarise(bare)
    what, note = "edit_cli.py, one picture, bundled model", f"heavy modules: {', '.join(heavy) or 'none'}"
    return Row("cold start", what, median, "CPU s", least, f"`{IMPORTS}`", spread, spread_of_least, note=note)


def main(argv: Sequence[str]) -> None:
    """Measure, print and write cold_start.{md,json}."""
    request = read_request(ColdStartRequest, argv, "cold_start", __doc__)
    said = f"Medians of {request.rounds} rounds. Goal: at most {GOAL} times, no heavy module ({', '.join(HEAVY)})."
    path = request.output and request.output / "cold_start"
    table = Table("Cold start of a prediction", machine_facts(request.device), path, said)
    table.add(measure_imports(request.rounds))
    sys.stdout.write(table.text)
