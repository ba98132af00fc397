"""Row I9: from nothing to the first frame on disk, each side in a process of its own.

Ours is edit_cli.py with a checkpoint and its config; theirs, `python -m benchmark.cold_start`, is what diffusers'
documentation shows: from_pretrained, one call, save. So this file imports as little as that needs.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # where torch.compile keeps what it compiled
WEIGHTS, PEER, PICTURE = "model.safetensors", "peer", "now.png"
TOKENS = 77


def write_sides(shape: object, folder: Path) -> None:
    """Checkpoint and config of ours, diffusers' folder with the same weights, and a picture."""
    import yaml
    from PIL import Image
    from safetensors.torch import save_file

    from benchmark.peers import make_model, make_peer, model_config

    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(shape)
    make_peer(model, shape).save_pretrained(folder / PEER)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    sampling = {"steps": 1, "text_scale": 1.0, "image_scale": 1.0}
    config = {"resolution": shape.resolution, "horizon": 1, "model": model_config(shape), "sampling": sampling}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    Image.new("RGB", (shape.resolution, shape.resolution), "grey").save(folder / PICTURE)


def seconds_of_ours(folder: Path, precision: str, compile_cache: Path | None = None) -> float:
    """Wall time of edit_cli.py; with torch.compile where a folder for what it compiled is given."""
    argv = ["edit_cli.py", "--ckpt", folder / WEIGHTS, "--input", folder / PICTURE, "--edit", "stack blocks"]
    argv += ["--output", folder / "ours.png", "--precision", precision]
    return _seconds([*argv, *(["--compile"] if compile_cache else [])], {CACHE_VARIABLE: str(compile_cache or folder)})


def seconds_of_theirs(folder: Path, precision: str) -> float:
    """Wall time of diffusers' few lines."""
    return _seconds(["-m", "benchmark.cold_start", folder, precision], {})


def _seconds(argv: Sequence[object], variables: Mapping[str, str]) -> float:
    """Wall time of a Python process.

    Raises:
        RuntimeError: with what it said last, if it failed.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))} failed: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - begun


def main(argv: Sequence[str] | None = None) -> int:
    """Diffusers' side: a folder of `write_sides` and a precision; writes theirs.png."""
    import torch
    from diffusers import StableDiffusionInstructPix2PixPipeline
    from PIL import Image

    parser = argparse.ArgumentParser(prog="python -m benchmark.cold_start", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("precision", choices=("fp32", "bf16", "fp16"))
    opt = parser.parse_args(argv)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[opt.precision]
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        opt.folder / PEER, torch_dtype=dtype, requires_safety_checker=False, **absent
    ).to(device)
    words = torch.zeros(1, TOKENS, pipe.unet.config.cross_attention_dim, device=device, dtype=dtype)
    with Image.open(opt.folder / PICTURE) as picture:
        result = pipe(
            image=picture.convert("RGB"),
            prompt_embeds=words,
            negative_prompt_embeds=words,
            num_inference_steps=1,
            guidance_scale=1.0,
            image_guidance_scale=1.0,
        )
    result.images[0].save(opt.folder / "theirs.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
