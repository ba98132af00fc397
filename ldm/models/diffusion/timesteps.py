"""Which noise levels a sampler visits; the names of samplers and spacings, which command lines read without torch.

Source: DDIM (arXiv 2010.02502), "leading"; arXiv 2305.08891, section 3.3, "trailing"; k-diffusion, "linspace".
"""

from typing import Literal, get_args

from commands.errors import UserError

SamplerName = Literal["ddim", "euler_ancestral", "dpm_solver"]  # the keys of sampling.SAMPLERS
Spacing = Literal["trailing", "leading", "linspace"]
SAMPLER_NAMES: tuple[SamplerName, ...] = get_args(SamplerName)
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)


def spaced_timesteps(timesteps: int, steps: int, spacing: Spacing) -> list[int]:
    """`steps` distinct timesteps of 0 .. timesteps - 1, falling.

    `trailing` begins at the noisiest level and is right for few steps; `leading` is the original's, which stops
    short of it (but honours every step count, where the original takes 8 for 7); `linspace` is spread evenly from
    the noisiest level to the cleanest, rounded: k-diffusion's.
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"{steps} sampling steps: wanted 1 to {timesteps}, the number of noise levels in training.")
    if spacing not in SPACINGS:
        raise UserError(f"spacing '{spacing}' is not one of {', '.join(SPACINGS)}.")
    if spacing == "trailing":
        return [(timesteps * (steps - i) + steps // 2) // steps - 1 for i in range(steps)]
    if spacing == "linspace":
        gaps = max(steps - 1, 1)
        return [(2 * (timesteps - 1) * (gaps - i) + gaps) // (2 * gaps) for i in range(steps)]
    offset = 1 if steps < timesteps else 0
    return [i * timesteps // steps + offset for i in reversed(range(steps))]
