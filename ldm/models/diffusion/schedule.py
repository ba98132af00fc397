"""The noise schedule: its tables, and the arithmetic between clean, noisy, noise and velocity.

Source: DDPM (arXiv 2006.11239) for the process, latent-diffusion for the "scaled linear" betas, progressive
distillation (arXiv 2202.00512) for v.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from commands.errors import UserError

Parameterization = Literal["eps", "x0", "v"]


def rescale_terminal(alphas_cumprod: np.ndarray, terminal_signal: float) -> np.ndarray:
    """abar (T,) with the first signal rate kept and the last one moved to `terminal_signal`, linearly between."""
    rates = alphas_cumprod**0.5
    if not 0.0 < terminal_signal <= rates[-1]:
        raise UserError(f"terminal_signal {terminal_signal} is outside (0, {rates[-1]:.4f}], the rate of the betas.")
    return (rates[0] - (rates[0] - rates) * (rates[0] - terminal_signal) / (rates[0] - rates[-1])) ** 2


def per_sample(rate: Tensor, like: Tensor) -> Tensor:
    """One number a sample, (B,), as (B, 1, ...) of the rank of `like` (B, ...)."""
    return rate.reshape(-1, *[1] * (like.ndim - 1))


class NoiseSchedule(nn.Module):
    """Tables of the forward process x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.

    The tables are recomputed from the config and never read from a checkpoint (non-persistent buffers).

    Args:
        timesteps: number of noise levels T; t runs over 0 .. T - 1.
        linear_start, linear_end: first and last beta; their square roots are spaced evenly.
        terminal_signal: signal rate sqrt(abar) of the last timestep; None keeps what the betas give (0.068 for SD v1).
            Training at that level shows the network a trace of the answer, which sampling from pure noise does not
            hold; a rate near zero mends it (arXiv 2305.08891, algorithm 1). Needs x0- or v-prediction.
    """

    def __init__(
        self, timesteps: int, linear_start: float, linear_end: float, terminal_signal: float | None = None
    ) -> None:
        super().__init__()
        if not 0.0 < linear_start < linear_end < 1.0:
            raise UserError(f"wanted 0 < linear_start < linear_end < 1, got {linear_start} and {linear_end}.")
        self.timesteps = timesteps
        betas = np.linspace(linear_start**0.5, linear_end**0.5, timesteps) ** 2
        alphas_cumprod = np.cumprod(1.0 - betas)
        if terminal_signal is not None:
            alphas_cumprod = rescale_terminal(alphas_cumprod, terminal_signal)
        table = torch.get_default_dtype()
        self.register_buffer("alphas_cumprod", torch.tensor(alphas_cumprod, dtype=table), persistent=False)
        self.register_buffer("signal", torch.tensor(alphas_cumprod**0.5, dtype=table), persistent=False)
        self.register_buffer("noise", torch.tensor((1.0 - alphas_cumprod) ** 0.5, dtype=table), persistent=False)

    def rates(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise rate, sqrt(abar_t) and sqrt(1 - abar_t), of timesteps (B,), each of the rank of `like`.

        Between whole timesteps the logarithm of noise over signal is interpolated, as k-diffusion does.
        """
        if not t.is_floating_point():
            return per_sample(self.signal[t], like), per_sample(self.noise[t], like)
        sigma = per_sample(self.sigma_at(t), like)
        signal = (1.0 + sigma**2).rsqrt()
        return signal, sigma * signal

    def sigma_at(self, t: Tensor) -> Tensor:
        """Noise over signal, sqrt(1 - abar) / sqrt(abar), at whole or fractional timesteps of any shape."""
        log_sigma = (self.noise / self.signal).log()
        low = t.floor().long().clamp(0, self.timesteps - 1)
        high = t.ceil().long().clamp(0, self.timesteps - 1)
        return torch.lerp(log_sigma[low], log_sigma[high], (t - low).to(log_sigma)).exp()

    def q_sample(self, x_start: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Noisy x_t of a clean x_start (B, ...) of any rank at timesteps t (B,); DDPM eq. 4."""
        signal, noise = self.rates(t, x_start)
        return signal * x_start + noise * eps

    def predict_start(self, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Clean x_0 that x_t came from if its noise was eps."""
        signal, noise = self.rates(t, x_t)
        return (x_t - noise * eps) / signal

    def predict_eps(self, x_t: Tensor, t: Tensor, x_start: Tensor) -> Tensor:
        """Noise in x_t if the clean signal was x_start."""
        signal, noise = self.rates(t, x_t)
        return (x_t - signal * x_start) / noise

    def velocity(self, x_start: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0; arXiv 2202.00512, section 4."""
        signal, noise = self.rates(t, x_start)
        return signal * eps - noise * x_start

    def training_target(self, parameterization: Parameterization, x_start: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What the network is asked for: the noise, the clean signal or the velocity."""
        if parameterization == "eps":
            return eps
        return x_start if parameterization == "x0" else self.velocity(x_start, t, eps)

    def start_from_output(self, parameterization: Parameterization, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Clean x_0 that a network's output stands for."""
        if parameterization == "x0":
            return output
        if parameterization == "eps":
            return self.predict_start(x_t, t, output)
        signal, noise = self.rates(t, x_t)
        return signal * x_t - noise * output

    def eps_from_output(self, parameterization: Parameterization, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Noise that a network's output stands for."""
        if parameterization == "eps":
            return output
        if parameterization == "x0":
            return self.predict_eps(x_t, t, output)
        signal, noise = self.rates(t, x_t)
        return noise * x_t + signal * output
