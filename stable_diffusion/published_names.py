"""Names in published checkpoints that our model does not have: the average's, the schedule tables', named buffers.

Inside the project the names are our model's state dict's, which are the published ones but for these. InstructPix2Pix's
file holds 1,831.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from commands.errors import UserError

PARTS = {  # prefix of names: what reports call it
    "model.": "U-Net",
    "first_stage_model.": "first stage",
    "cond_stage_model.": "text encoder",
}
RUN_AVERAGE = "model_ema.average."  # + name inside `model`, in checkpoints of our runs
PUBLISHED_AVERAGE = "model_ema."  # + the same name without dots
AVERAGE_FACTS = ("model_ema.decay", "model_ema.num_updates")
POSITION_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
SCHEDULE = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
OPEN_CLIP_MASK = "cond_stage_model.model.attn_mask"
NAMED_BUFFERS = {*SCHEDULE, *AVERAGE_FACTS, POSITION_IDS, OPEN_CLIP_MASK, "logvar", "scale_factor"}
TRAINING_ONLY = ("loss.", "first_stage_model.loss.", "model_ema.")  # of no use to a model that is loaded


def part_of(name: str) -> str | None:
    """Prefix of PARTS that a name begins with."""
    return next((prefix for prefix in PARTS if name.startswith(prefix)), None)


def published_average_name(name: str) -> str:
    """`model.diffusion_model.out.2.bias` => `model_ema.diffusion_modelout2bias`."""
    return PUBLISHED_AVERAGE + name.removeprefix("model.").replace(".", "")


def average_names(names: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Where the average of each of `names` stands among the names `present` in a file.

    Args:
        names: names of the U-Net's weights, `model. ...`.
        present: all names of the file.

    Returns:
        Name of the weight => name of its average; empty where the file holds no average.

    Raises:
        UserError: if averages exist and some are missing, or two weights would share one.
    """
    names, present = list(names), set(present)
    for translate in (lambda name: RUN_AVERAGE + name.removeprefix("model."), published_average_name):
        found = {name: translate(name) for name in names if translate(name) in present}
        if not found:
            continue
        if len(found) < len(names) or len(set(found.values())) < len(found):
            lost = next((name for name in names if name not in found), names[0])
            raise UserError(
                f"the file holds averages of {len(set(found.values()))} weights out of {len(names)}; "
                f"that of {lost} is missing or shared. Load it with use_ema: false."
            )
        return found
    return {}


def schedule_tables(
    timesteps: int, linear_start: float, linear_end: float, terminal_signal: float | None = None
) -> dict[str, Tensor]:
    """The 12 tables that latent-diffusion keeps in its checkpoints, float32, from a scaled-linear schedule.

    With `terminal_signal`, the last sqrt(abar) is moved there as NoiseSchedule does (arXiv 2305.08891, algorithm 1).
    """
    # Notation, DDPM (arXiv 2006.11239): beta, abar; computed in float64 as the original does.
    beta = torch.linspace(linear_start**0.5, linear_end**0.5, timesteps, dtype=torch.float64).numpy() ** 2
    alpha = 1.0 - beta
    abar = np.cumprod(alpha)
    if terminal_signal is not None:
        rate = np.sqrt(abar)
        abar = (rate[0] - (rate[0] - rate) * (rate[0] - terminal_signal) / (rate[0] - rate[-1])) ** 2
        alpha = abar / np.append(1.0, abar[:-1])
        beta = 1.0 - alpha
    before = np.append(1.0, abar[:-1])
    variance = beta * (1.0 - before) / (1.0 - abar)  # eq. 7
    tables = (
        beta,
        abar,
        before,
        np.sqrt(abar),
        np.sqrt(1.0 - abar),
        np.log(1.0 - abar),
        np.sqrt(1.0 / abar),
        np.sqrt(1.0 / abar - 1.0),
        variance,
        np.log(np.maximum(variance, 1e-20)),
        beta * np.sqrt(before) / (1.0 - abar),
        (1.0 - before) * np.sqrt(alpha) / (1.0 - abar),
    )
    return {name: torch.tensor(table, dtype=torch.float32) for name, table in zip(SCHEDULE, tables, strict=True)}
