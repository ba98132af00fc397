"""Laws of the names that published checkpoints have and our model has not."""

import pytest
import torch

from ldm.models.diffusion.schedule import NoiseSchedule
from stable_diffusion.published_names import SCHEDULE, average_names, published_average_name, schedule_tables


def test_averages_are_found_under_either_naming():
    """Ours, and the published one, in which names lose their dots."""
    names = ["model.diffusion_model.out.2.bias", "model.diffusion_model.out.2.weight"]
    published = {name: published_average_name(name) for name in names}
    ours = {name: name.replace("model.", "model_ema.average.", 1) for name in names}
    assert published[names[1]] == "model_ema.diffusion_modelout2weight"
    assert average_names(names, [*names, *published.values()]) == published
    assert average_names(names, [*names, *ours.values()]) == ours
    assert average_names(names, [*names, "model_ema.decay"]) == {}


def test_missing_and_colliding_averages_are_refused():
    """Without dots, 1.11 and 11.1 are the same name."""
    names = ["model.a.weight", "model.b.weight"]
    with pytest.raises(ValueError, match=r"averages of 1 weights out of 2; that of model\.b\.weight is missing"):
        average_names(names, ["model_ema.aweight"])
    with pytest.raises(ValueError, match="missing or shared"):
        average_names(["model.b.1.11.w", "model.b.11.1.w"], ["model_ema.b111w"])


def test_tables_are_our_schedule():
    tables = schedule_tables(1000, 0.00085, 0.012)
    ours = NoiseSchedule(1000, 0.00085, 0.012)
    assert list(tables) == list(SCHEDULE)
    assert all(table.shape == (1000,) and table.dtype == torch.float32 for table in tables.values())
    assert torch.allclose(tables["alphas_cumprod"], ours.alphas_cumprod, atol=1e-7)
    assert torch.allclose(tables["sqrt_one_minus_alphas_cumprod"], ours.noise, atol=1e-7)
    tables, ours = (make(1000, 0.00085, 0.012, 0.001) for make in (schedule_tables, NoiseSchedule))
    assert torch.allclose(tables["sqrt_alphas_cumprod"], ours.signal, atol=1e-7)
    assert torch.allclose((1.0 - tables["betas"]).cumprod(0), ours.alphas_cumprod, atol=1e-5)


def test_tables_fit_one_another():
    """The posterior's mean of the true x_0 and of x_t without noise is x_0's own path (DDPM, eq. 6 and 7)."""
    t = schedule_tables(1000, 0.00085, 0.012)
    assert t["alphas_cumprod"][0].item() == pytest.approx(0.99915, abs=1e-6)
    assert t["alphas_cumprod"][999].item() == pytest.approx(0.004660, abs=1e-6)
    assert torch.equal(t["alphas_cumprod_prev"][1:], t["alphas_cumprod"][:-1])
    mean = t["posterior_mean_coef1"] + t["posterior_mean_coef2"] * t["sqrt_alphas_cumprod"]
    assert torch.allclose(mean, t["alphas_cumprod_prev"].sqrt(), atol=1e-4)
    assert torch.allclose(t["posterior_log_variance_clipped"][1:].exp(), t["posterior_variance"][1:], rtol=1e-4)
