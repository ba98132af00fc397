"""Time to the first frame on disk, in processes of their own: python -m benchmark cold_start

    python -m benchmark cold_start --output metrics/results     edit_cli.py with the bundled model against bare imports

Row I9 of the inference benchmark is here too: edit_cli.py with a checkpoint and its config against what diffusers'
documentation shows (from_pretrained, one call, save), which `python -m benchmark.cold_start <folder> <precision>` is.
So this file imports as little as that needs.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # where torch.compile keeps what it compiled
WEIGHTS, CONFIG, PEER, PICTURE = "model.safetensors", "config.yaml", "peer", "now.png"
TOKENS = 77
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
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    environment = {**os.environ, **(variables or {})}
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))} failed: {done.stderr.strip()[-500:]}")
    seconds, after = perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return ProcessTime(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def write_sides(size: str, folder: Path) -> None:
    """Checkpoint and config of ours, diffusers' folder with the same weights, and a picture."""
    import yaml
    from PIL import Image
    from safetensors.torch import save_file

    from benchmark.peers import make_model, make_pipeline, prediction_config

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
    return time_process(["-m", "benchmark.cold_start", folder, precision]).seconds


def predict_with_diffusers(folder: Path, precision: str) -> None:
    """Diffusers' side: reads a folder of `write_sides`, writes theirs.png into it."""
    import torch
    from diffusers import StableDiffusionInstructPix2PixPipeline
    from PIL import Image

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        folder / PEER, torch_dtype=dtype, requires_safety_checker=False, **absent
    ).to(device)
    words = torch.zeros(1, TOKENS, pipe.unet.config.cross_attention_dim, device=device, dtype=dtype)
    with Image.open(folder / PICTURE) as picture:
        result = pipe(
            image=picture.convert("RGB"),
            prompt_embeds=words,
            negative_prompt_embeds=words,
            num_inference_steps=1,
            guidance_scale=1.0,
            image_guidance_scale=1.0,
        )
    result.images[0].save(folder / "theirs.png")


def measure_imports(rounds: int) -> dict[str, object]:
    """CPU seconds of edit_cli.py on one picture with the bundled model, and of the bare imports, in turns."""
    from PIL import Image

    ours, bare = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (128, 128), "grey").save(folder / PICTURE)
        argv = ["edit_cli.py", "--input", folder / PICTURE, "--edit", "stack blocks", "--output", folder / "ours.png"]
        heavy = time_process(["-c", LISTING, *argv]).output.rpartition("loaded:")[2].split()  # and a warm-up
        for _ in range(rounds):
            bare.append(time_process(["-c", IMPORTS]).cpu_seconds)
            ours.append(time_process(argv).cpu_seconds)
    medians = {"cpu_seconds": statistics.median(ours), "bare_cpu_seconds": statistics.median(bare)}
    spreads = {"spread": max(ours) - min(ours), "bare_spread": max(bare) - min(bare)}
    ratio = medians["cpu_seconds"] / medians["bare_cpu_seconds"]
    return {"rounds": rounds, **medians, **spreads, "ratio": ratio, "goal": GOAL, "heavy_modules": heavy}


def format_table(found: Mapping[str, object], facts: Mapping[str, object]) -> str:
    """The row as markdown."""
    ours, bare = (f"{found[of + 'cpu_seconds']:.2f} ± {found[of + 'spread'] / 2:.2f}" for of in ("", "bare_"))
    lines = [
        "# Cold start of a prediction",
        "",
        f"`edit_cli.py` on one picture with the bundled model, against `{IMPORTS}` in the same run: CPU seconds, "
        f"median of {found['rounds']} ± half the range. Goal: at most {GOAL} times.",
        "",
        "| edit_cli.py, CPU s | bare imports, CPU s | times | heavy modules imported |",
        "|---:|---:|---:|---|",
        f"| {ours} | {bare} | {found['ratio']:.2f} | {', '.join(found['heavy_modules']) or 'none'} |",
        "",
        f"Heavy are {', '.join(HEAVY)}. " + "; ".join(f"{k} {v}" for k, v in facts.items() if k != "command") + ".",
        "",
        f"`{facts['command']}`",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str]) -> None:
    """Measure, print and write cold_start.{md,json}."""
    from benchmark.measuring import machine_facts, own_device
    from commands.errors import UserError
    from formats.atomic import write_json, write_text

    parser = argparse.ArgumentParser(prog="python -m benchmark cold_start", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for cold_start.json and cold_start.md")
    opt = parser.parse_args(argv)
    if opt.rounds < 1:
        raise UserError(f"--rounds {opt.rounds}: wanted at least 1.")
    facts, found = machine_facts(own_device()), measure_imports(opt.rounds)
    table = format_table(found, facts)
    if opt.output:
        write_json(opt.output / "cold_start.json", {"facts": facts, **found})
        write_text(opt.output / "cold_start.md", table)
    sys.stdout.write(table)


if __name__ == "__main__":
    predict_with_diffusers(Path(sys.argv[1]), sys.argv[2])
