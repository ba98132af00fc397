"""How a sample is drawn, as one checked value, and the sampler that it names."""

from dataclasses import dataclass

from commands.errors import UserError
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.euler_ancestral import EulerAncestralSampler
from ldm.models.diffusion.sampler import Sampler
from ldm.models.diffusion.schedule import NoiseSchedule
from ldm.models.diffusion.timesteps import SamplerName, Spacing

SAMPLERS: dict[SamplerName, type[Sampler]] = {
    "ddim": DDIMSampler,
    "euler_ancestral": EulerAncestralSampler,
    "dpm_solver": DPMSolverSampler,
}


@dataclass(frozen=True)
class SamplingOptions:
    """How a frame is drawn.

    Args:
        steps: network calls, 1 to the number of noise levels in training.
        text_scale, image_scale: guidance towards the instruction and the source frame; 1 means none.
        eta: noise added at every step; None takes the sampler's own (euler_ancestral 1, the others 0).
        spacing: of the timesteps, see `spaced_timesteps`.
        sampler: ddim, euler_ancestral (InstructPix2Pix's), dpm_solver (10 to 20 steps).
        rescale: 0 to 1, against over-saturation at large scales, see DualGuidance.
        interval: timesteps [low, high] that guidance is limited to; None guides always.

    Raises:
        UserError: if a number makes no sense.
    """

    steps: int
    text_scale: float
    image_scale: float
    eta: float | None = None
    spacing: Spacing = "trailing"
    sampler: SamplerName = "ddim"
    rescale: float = 0.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("text_scale", "image_scale"):
            value = getattr(self, name)
            if not 0.0 <= value <= 100.0:
                raise UserError(f"{name} {value} is outside [0, 100]; 1 means no guidance.")
        if self.sampler not in tuple(SAMPLERS):  # a YAML file may give a list
            raise UserError(f"sampler '{self.sampler}' is not one of {', '.join(SAMPLERS)}.")
        if self.eta and not SAMPLERS[self.sampler].adds_noise:
            noisy = " or ".join(name for name, kind in SAMPLERS.items() if kind.adds_noise)
            raise UserError(f"eta {self.eta}: {self.sampler} adds no noise; take {noisy}, or leave eta out.")
        if not 0.0 <= self.rescale <= 1.0:
            raise UserError(f"rescale {self.rescale} is outside [0, 1].")
        if self.interval is not None and not _is_interval(self.interval):
            raise UserError(f"guidance interval {self.interval}: wanted two timesteps, the lower first.")


def _is_interval(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and 0 <= value[0] <= value[1]


def make_sampler(schedule: NoiseSchedule, options: SamplingOptions) -> Sampler:
    """The sampler that the options name.

    Raises:
        UserError: if the step count is impossible for the schedule.
    """
    return SAMPLERS[options.sampler](schedule, options.steps, options.eta, options.spacing)
