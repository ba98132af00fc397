"""diffusers' side of a cold start, as its documentation has it: python -m benchmark.peer_process <folder> <precision>

Reads a folder of `cold_start.write_sides`, and imports only what the few lines need: from_pretrained, one call, save.
"""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ABSENT = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
TOKENS = 77


def main(folder: Path, precision: str) -> None:
    """Write theirs.png: one step from now.png."""
    dtype = DTYPES[precision]
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    load = StableDiffusionInstructPix2PixPipeline.from_pretrained
    pipe = load(folder / "peer", torch_dtype=dtype, requires_safety_checker=False, **ABSENT).to(device)
    words = torch.zeros(1, TOKENS, pipe.unet.config.cross_attention_dim, device=device, dtype=dtype)
    one = {"num_inference_steps": 1, "guidance_scale": 1.0, "image_guidance_scale": 1.0}
    with Image.open(folder / "now.png") as picture:
        result = pipe(image=picture.convert("RGB"), prompt_embeds=words, negative_prompt_embeds=words, **one)
    result.images[0].save(folder / "theirs.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
