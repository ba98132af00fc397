"""Speed of prediction against diffusers' InstructPix2Pix pipeline, with the same weights in both.

    python -m metrics.benchmark inference                       the small twin of every row, with counts of calls
    python -m metrics.benchmark inference --size full --dtype bf16 --compile --tuned     on a GPU: rows I1 to I8

Protocol: shared/design/performance.md, section 6. One process; weights are seeded noise, copied from our network into
diffusers' by name; parity comes before timing; the systems alternate (A B B A); medians and spread are reported, with
the floor that this machine's own matrix product and copy rates set. Rows with fewer steps are "speed only".
Layer 1, but for ldm.predictor. Published-layout names are reached by dotted path, as configs do.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldm.predictor import DTYPES, FramePredictor, Runtime, SamplingOptions, tune_for_inference
from ldm.util import get_obj_from_str, instantiate_from_config
from metrics.benchmark_report import Result, machine_facts, measure_rates, write_report

SENTENCE = "stack blocks"
PARITY_STEPS = 10
PARITY_LIMITS = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1}  # of final latents, largest difference over largest value
UNIT = {"timesteps": 1000, "linear_start": 0.00085, "linear_end": 0.012, "scale_factor": 0.18215}


@dataclass(frozen=True)
class Shape:
    """Size of the networks and of the work."""

    channels: int
    mult: tuple[int, ...]
    vae_channels: int
    context: int
    resolution: int
    frames: int


SHAPES = {
    "tiny": Shape(32, (1, 2), 32, 64, 32, 3),  # below 32 pixels GroupNorm has too few to be stable
    "full": Shape(320, (1, 2, 4, 4), 128, 768, 256, 15),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: how many frames, drawn how."""

    name: str
    what: str
    frames: int
    batched: bool
    options: SamplingOptions


def make_rows(shape: Shape) -> list[Row]:
    """Rows I1 to I6 of performance.md, section 6; tiny shapes predict fewer frames."""
    num = shape.frames
    full = SamplingOptions(steps=100, text_scale=7.5, image_scale=1.5)
    ten = replace(full, steps=10, sampler="dpm_solver")
    four = SamplingOptions(steps=4, text_scale=1.0, image_scale=1.0)
    one = replace(four, steps=1)
    return [
        Row("I1", "1 frame, 100 steps DDIM, dual guidance", 1, True, full),
        Row("I2", f"{num} frames one after another, as I1", num, False, full),
        Row("I3", f"{num} frames batched, as I1", num, True, full),
        Row("I4", f"{num} frames batched, 10 steps DPM-Solver++, dual guidance", num, True, ten),
        Row("I4s", f"{num} frames one after another, as I4", num, False, ten),
        Row("I5", f"{num} frames batched, 4 steps, one branch", num, True, four),
        Row("I6", "1 frame, one step", 1, True, one),
        Row("I6b", f"{num} frames batched, one step", num, True, one),
    ]


class FixedText(nn.Module):
    """Stands for the text encoder on both sides: noise that depends on the sentence's length alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, sentences: list[str]) -> Tensor:
        """(B, 77, width)."""
        draws = [torch.randn(77, self.width, generator=torch.Generator().manual_seed(len(s))) for s in sentences]
        return torch.stack(draws).to(self.place)


def model_config(shape: Shape) -> dict[str, Any]:
    """Node of a LatentDiffusion of InstructPix2Pix's architecture."""
    unet = {
        "in_channels": 8,
        "out_channels": 4,
        "model_channels": shape.channels,
        "attention_resolutions": [1, 2, 4],
        "num_res_blocks": 2,
        "channel_mult": list(shape.mult),
        "num_heads": 8,
        "context_dim": shape.context,
    }
    coder = {"double_z": True, "z_channels": 4, "resolution": shape.resolution, "in_channels": 3, "out_ch": 3}
    coder |= {"ch": shape.vae_channels, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": []}
    parts = {
        "unet_config": ("ldm.modules.diffusionmodules.openaimodel.UNetModel", unet),
        "first_stage_config": ("ldm.models.autoencoder.AutoencoderKL", {"embed_dim": 4, "ddconfig": coder}),
        "cond_stage_config": ("metrics.benchmark_inference.FixedText", {"width": shape.context}),
    }
    nodes = {name: {"target": target, "params": params} for name, (target, params) in parts.items()}
    other = {"learning_rate": 1e-4, "parameterization": "eps", "conditioning_dropout": 0.05, "use_ema": False}
    return {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": UNIT | other | nodes}


def make_model(shape: Shape) -> Any:
    """Our model with seeded weights: small noise everywhere, so that no layer is silent."""
    torch.manual_seed(0)
    model = instantiate_from_config(model_config(shape), "model").eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.abs().sum() == 0 and name.endswith("weight"):
            nn.init.normal_(parameter, std=0.02)
    return model


def make_peer(model: Any, shape: Shape) -> Any:
    """diffusers' pipeline with the weights of our model."""
    import diffusers

    lazy = get_obj_from_str("stable_diffusion.tensor_files.LazyTensor")
    layout, configs = "stable_diffusion.diffusers_layout", "stable_diffusion.diffusers_configs"
    params = model_config(shape)["params"]
    extra = {"transformer_depth": 1, "use_linear_in_transformer": False}
    unet_config = get_obj_from_str(f"{configs}.unet_config")(params["unet_config"]["params"] | extra)
    vae_config = get_obj_from_str(f"{configs}.vae_config")(params["first_stage_config"]["params"], UNIT["scale_factor"])
    unet = diffusers.UNet2DConditionModel.from_config(unet_config)
    vae = diffusers.AutoencoderKL.from_config(vae_config)
    for ours, theirs, name in (
        (model.model.diffusion_model, unet, "unet_to_diffusers"),
        (model.first_stage_model, vae, "first_stage_to_diffusers"),
    ):
        named = {key: lazy.of(value) for key, value in ours.state_dict().items()}
        translated = get_obj_from_str(f"{layout}.{name}")(named)
        theirs.load_state_dict({key: value.read().clone() for key, value in translated.items()})
    betas = {"beta_start": UNIT["linear_start"], "beta_end": UNIT["linear_end"], "beta_schedule": "scaled_linear"}
    scheduler = diffusers.DDIMScheduler(**betas, clip_sample=False, timestep_spacing="trailing")
    pipe = diffusers.StableDiffusionInstructPix2PixPipeline(
        vae, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@dataclass(frozen=True)
class Systems:
    """Both sides, ready to predict the same frames from the same noise."""

    predictor: FramePredictor
    peer: Any
    tuned: bool

    def ours(self, row: Row, frames: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) on the device."""
        chunks = [frames] if row.batched else frames.split(1)
        return torch.cat(
            [self.predictor.predict(c, [SENTENCE] * len(c), range(len(c)), options=row.options) for c in chunks]
        )

    def theirs(self, row: Row, frames: Tensor, output: str = "pt") -> Tensor:
        """The same of diffusers, by its documented call with tensors in and out."""
        import diffusers

        kind = diffusers.DPMSolverMultistepScheduler if row.options.sampler == "dpm_solver" else diffusers.DDIMScheduler
        self.peer.scheduler = kind.from_config(self.peer.scheduler.config, timestep_spacing="trailing")
        chunks = [frames] if row.batched else frames.split(1)
        return torch.cat([self._call_peer(row, chunk, output) for chunk in chunks])

    @torch.inference_mode()
    def _call_peer(self, row: Row, frames: Tensor, output: str) -> Tensor:
        model, dtype = self.predictor.model, self.peer.unet.dtype
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(frames))]
        noise = torch.stack([torch.randn(model.latent_shape(frames), generator=g) for g in generators])
        words = model.encode_instruction([SENTENCE]).to(dtype)
        result = self.peer(
            image=frames.to(dtype) / 255.0,
            prompt_embeds=words.repeat(len(frames), 1, 1),
            negative_prompt_embeds=model.encode_instruction([""]).to(dtype).repeat(len(frames), 1, 1),
            num_inference_steps=row.options.steps,
            guidance_scale=row.options.text_scale,
            image_guidance_scale=row.options.image_scale,
            latents=noise.to(words),
            output_type=output,
        ).images
        return result if output == "latent" else (result * 255).round().to(torch.uint8)


def make_systems(shape: Shape, runtime: Runtime, device: torch.device, *, tuned: bool) -> Systems:
    """Both sides on a device, ours tuned as `runtime` says, diffusers' as documented or tuned by us."""
    model = make_model(shape)
    peer = make_peer(model, shape).to(device, DTYPES[runtime.precision])
    if tuned:
        peer.unet.to(memory_format=torch.channels_last).fuse_qkv_projections()
        peer.unet.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
    model = tune_for_inference(model.to(device), runtime)
    options = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)
    return Systems(FramePredictor(model, shape.resolution, options), peer, tuned)


def measure_parity(systems: Systems, frames: Tensor) -> float:
    """Largest difference of the final latents over their largest value, after ten guided DDIM steps."""
    options = SamplingOptions(steps=PARITY_STEPS, text_scale=7.5, image_scale=1.5)
    row = Row("parity", "", 1, True, options)
    kept = []
    model = systems.predictor.model
    decode = model.decode_first_stage
    model.decode_first_stage = lambda z, context: kept.append(z) or decode(z, context)
    try:
        systems.ours(row, frames[:1])
    finally:
        del model.decode_first_stage
    theirs = systems.theirs(row, frames[:1], output="latent").float()
    return float((kept[0].float() - theirs).abs().max() / theirs.abs().max())


def count_calls(systems: Systems, row: Row, frames: Tensor) -> dict[str, int]:
    """Network, encoder, decoder and text calls of one run of ours."""
    counts = {"network": 0, "encoder": 0, "decoder": 0, "text": 0}
    model = systems.predictor.model
    first = model.first_stage_model
    parts = {"network": model.model, "encoder": first.encoder, "decoder": first.decoder, "text": model.cond_stage_model}
    hooks = []
    for name, part in parts.items():

        def count(*_: Any, name: str = name) -> None:
            counts[name] += 1

        hooks.append(part.register_forward_hook(count))
    systems.ours(row, frames)
    for hook in hooks:
        hook.remove()
    return counts


def measure_flop(systems: Systems, row: Row, frames: Tensor) -> float:
    """Floating-point operations of one run of ours, counted in a single step and multiplied."""
    from torch.utils.flop_counter import FlopCounterMode

    def count(steps: int) -> int:
        short = replace(row, options=replace(row.options, steps=steps))
        with FlopCounterMode(display=False) as counter:
            systems.ours(short, frames)
        return counter.get_total_flops()

    one = count(1)
    return one if row.options.steps == 1 else one + (row.options.steps - 1) * (count(2) - one)


def time_alternating(first: Callable[[], Any], second: Callable[[], Any], rounds: int, device: torch.device) -> tuple:
    """Seconds of both, A B B A in every round, after one warm-up of each."""
    seconds: tuple[list[float], list[float]] = ([], [])
    first()
    second()
    for _ in range(rounds):
        for which in (0, 1, 1, 0):
            _wait(device)
            begun = time.perf_counter()
            (first, second)[which]()
            _wait(device)
            seconds[which].append(time.perf_counter() - begun)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_row(systems: Systems, row: Row, rounds: int, rates: tuple[float, float], device: torch.device) -> Result:
    """One line of the table."""
    shape = (row.frames, 3, systems.predictor.resolution, systems.predictor.resolution)
    frames = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).to(device)
    systems.ours(row, frames[:1])  # the sentence is embedded
    calls = count_calls(systems, row, frames)
    flop = measure_flop(systems, row, frames)
    ours, theirs = time_alternating(
        lambda: systems.ours(row, frames), lambda: systems.theirs(row, frames), rounds, device
    )
    memory = None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        systems.ours(row, frames)
        memory = torch.cuda.max_memory_allocated(device) / 2**20
    network = systems.predictor.model.model
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    floor = max(flop / rates[0], calls["network"] * weights / rates[1])
    return Result(
        row=row.name,
        what=row.what,
        peer="tuned" if systems.tuned else "as documented",
        ours=statistics.median(ours),
        ours_spread=max(ours) - min(ours),
        theirs=statistics.median(theirs),
        theirs_spread=max(theirs) - min(theirs),
        floor=floor,
        flop=flop,
        memory_mib=memory,
        **{f"{name}_calls": count for name, count in calls.items()},
    )


def make_parser() -> argparse.ArgumentParser:
    """Flags."""
    parser = argparse.ArgumentParser(prog="metrics.benchmark inference", description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=tuple(SHAPES), default="tiny", help="full is InstructPix2Pix's own")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32")
    parser.add_argument("--rounds", type=int, default=5, help="of A B B A")
    parser.add_argument("--rows", nargs="+", help="such as I1 I4; default: all")
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile and CUDA graphs")
    parser.add_argument("--tuned", action="store_true", help="compare with diffusers compiled and channels last")
    parser.add_argument("--output", type=Path, default=Path("metrics/results"))
    return parser


def run(argv: Sequence[str]) -> int:
    """Measure and write benchmark_inference_<size>_<device>.{md,json}; 1 if parity fails."""
    opt = make_parser().parse_args(argv)
    shape = SHAPES[opt.size]
    rows = [row for row in make_rows(shape) if opt.rows is None or row.name in opt.rows]
    if not rows or opt.rounds < 1:
        known = ", ".join(row.name for row in make_rows(shape))
        raise ValueError(f"--rows {opt.rows}, --rounds {opt.rounds}: wanted some of {known}, and at least one round.")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    runtime = Runtime(opt.dtype, channels_last=device.type == "cuda", compile=opt.compile)
    systems = make_systems(shape, runtime, device, tuned=opt.tuned)
    frames = torch.randint(256, (1, 3, shape.resolution, shape.resolution), dtype=torch.uint8).to(device)
    parity = measure_parity(systems, frames)
    if not parity <= PARITY_LIMITS[opt.dtype]:
        sys.stderr.write(f"parity fails: latents differ by {parity:.1e} of their size; no row is measured.\n")
        return 1
    rates = measure_rates(device, DTYPES[opt.dtype])
    results = [measure_row(systems, row, opt.rounds, rates, device) for row in rows]
    facts = machine_facts(device) | {"size": opt.size, "parity": parity, "rounds": opt.rounds, **asdict(runtime)}
    facts |= {"matrix_tflops": rates[0] / 1e12, "copy_gb_per_s": rates[1] / 1e9}
    name = f"benchmark_inference_{opt.size}_{device.type}" + ("_tuned" if opt.tuned else "")
    sys.stdout.write(write_report(opt.output / name, results, facts))
    return 0
