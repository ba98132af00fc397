"""Learning-rate factors over optimiser steps, for torch's LambdaLR.

Source: latent-diffusion's lr_scheduler, whose parameter names are kept.
"""

from collections.abc import Sequence
from itertools import accumulate

from commands.errors import UserError


class LambdaLinearScheduler:
    """Linear warm-up, then linear decay, in cycles.

    In a cycle of `cycle_length` steps the factor rises from f_start to f_max over `warm_up_steps`, then goes to
    f_min at the end of the cycle. After the last cycle it stays at the last f_min.

    Args:
        warm_up_steps, f_min, f_max, f_start, cycle_lengths: one value a cycle.
    """

    def __init__(
        self,
        warm_up_steps: Sequence[int],
        f_min: Sequence[float],
        f_max: Sequence[float],
        f_start: Sequence[float],
        cycle_lengths: Sequence[float],
    ):
        # Plain lists: a config container here would travel into checkpoints.
        self.cycles = [list(values) for values in (warm_up_steps, f_min, f_max, f_start, cycle_lengths)]
        if len({len(values) for values in self.cycles}) != 1 or not cycle_lengths:
            raise UserError(f"wanted one value a cycle in each list, got lengths {[len(v) for v in self.cycles]}.")
        self.ends = list(accumulate(self.cycles[4]))

    def schedule(self, step: int) -> float:
        """Factor on the learning rate at optimiser step `step`, from 0."""
        cycle = next((i for i, end in enumerate(self.ends) if step < end), None)
        if cycle is None:
            return self.cycles[1][-1]
        warm_up, f_min, f_max, f_start, length = (values[cycle] for values in self.cycles)
        n = step - (self.ends[cycle] - length)
        if n < warm_up:
            return f_start + (f_max - f_start) * n / warm_up
        return f_min + (f_max - f_min) * (length - n) / (length - warm_up)

    __call__ = schedule
