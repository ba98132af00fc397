"""Laws of the noise schedule."""

import pytest
import torch

from ldm.models.diffusion.schedule import NoiseSchedule


@pytest.fixture
def sample(schedule):
    generator = torch.Generator().manual_seed(0)
    x_start, eps = torch.randn(2, 7, 4, 8, 8, generator=generator)
    return x_start, torch.tensor([0, 1, 100, 355, 500, 900, 999]), eps


def test_signal_strictly_falls_between_the_published_ends(schedule):
    """abar falls from 0.99915 to 0.004660, SD v1's schedule; none of it enters a checkpoint."""
    assert not schedule.state_dict()
    table = schedule.alphas_cumprod
    assert (table.diff() < 0).all()
    assert table[0].item() == pytest.approx(0.99915, abs=1e-6)
    assert table[-1].item() == pytest.approx(0.004660, abs=1e-6)


def test_unit_variance_stays_unit_variance(schedule):
    """signal^2 + noise^2 = 1 at every level, so unit-variance latents stay so."""
    torch.testing.assert_close(schedule.signal**2 + schedule.noise**2, torch.ones(1000))


def test_predict_start_undoes_q_sample(schedule, sample):
    x_start, t, eps = sample
    x_t = schedule.q_sample(x_start, t, eps)
    torch.testing.assert_close(schedule.predict_start(x_t, t, eps), x_start, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(schedule.predict_eps(x_t[1:], t[1:], x_start[1:]), eps[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_a_perfect_network_is_read_back_in_every_parameterization(schedule, sample, parameterization):
    x_start, t, eps = (part[1:] for part in sample)
    x_t = schedule.q_sample(x_start, t, eps)
    output = schedule.training_target(parameterization, x_start, t, eps)
    start = schedule.start_from_output(parameterization, output, x_t, t)
    torch.testing.assert_close(start, x_start, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(schedule.eps_from_output(parameterization, output, x_t, t), eps, atol=2e-4, rtol=1e-3)


def test_fractional_timesteps_lie_between_whole_ones(schedule):
    """Whole numbers given as floats have the table's values; halfway, sigma is the geometric mean."""
    whole = torch.tensor([0, 1, 500, 999])
    for exact, interpolated in zip(schedule.rates(whole, whole), schedule.rates(whole.float(), whole), strict=True):
        torch.testing.assert_close(interpolated, exact, atol=1e-5, rtol=1e-4)
    low, middle, high = schedule.sigma_at(torch.tensor([500.0, 500.5, 501.0]))
    torch.testing.assert_close(middle, (low * high).sqrt())
    signal, noise = schedule.rates(torch.tensor([500.5]), torch.zeros(1))
    torch.testing.assert_close(signal**2 + noise**2, torch.ones(1))


def test_a_terminal_signal_ends_the_schedule_in_noise_and_keeps_its_start(schedule):
    """arXiv 2305.08891: the first rate stays, the last is as asked, and the process is still a falling one."""
    table = NoiseSchedule(1000, 0.00085, 0.012, terminal_signal=1e-3)
    assert table.signal[0].item() == pytest.approx(schedule.signal[0].item(), abs=1e-7)
    assert table.signal[-1].item() == pytest.approx(1e-3, rel=1e-4)
    assert (table.signal.diff() < 0).all()


def test_pure_noise_is_read_back_through_eps_without_loss_of_figures():
    """A sampler hears of noise only; at a signal rate of 1e-3 the clean latent survives the way there and back."""
    table = NoiseSchedule(1000, 0.00085, 0.012, terminal_signal=1e-3)
    x_t, x_start = torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.full((4,), 999)
    eps = table.eps_from_output("x0", x_start, x_t, t)
    torch.testing.assert_close(table.predict_start(x_t, t, eps), x_start, atol=2e-3, rtol=0)


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="0 < linear_start < linear_end < 1"):
        NoiseSchedule(1000, 0.012, 0.00085)
    with pytest.raises(ValueError, match="terminal_signal 0.5 is outside"):
        NoiseSchedule(1000, 0.00085, 0.012, terminal_signal=0.5)
