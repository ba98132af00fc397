"""Laws of the moving average."""

import copy

import pytest
import torch
from torch import nn

from ldm.modules.ema import LitEma


def constant(value):
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(value)
    return layer


def test_decay_warms_up():
    """From 0 towards 1: the n-th update keeps min(decay, (1 + n) / (10 + n)) of the old average."""
    ema, target = LitEma(constant(0.0), decay=0.5), constant(1.0)
    left = 1.0
    for n in range(1, 20):
        ema.update(target)
        left *= min(0.5, (1 + n) / (10 + n))
        assert ema.average.bias[0].item() == pytest.approx(1 - left, abs=1e-6)
        assert int(ema.num_updates) == n


def test_average_does_not_train_and_does_not_share_memory():
    model = constant(1.0)
    ema = LitEma(model, decay=0.9)
    assert not any(p.requires_grad for p in ema.parameters())
    with torch.no_grad():
        model.weight.fill_(5.0)
    assert ema.average.weight[0, 0] == 1.0


def test_frozen_parameters_stay():
    model = constant(2.0)
    ema = LitEma(constant(1.0), decay=0.0)
    model.bias.requires_grad_(False)
    ema.update(model)
    assert ema.average.weight[0, 0] == 2.0
    assert ema.average.bias[0] == 1.0


def test_buffers_are_copied():
    model = nn.BatchNorm1d(3)
    ema = LitEma(model, decay=0.9)
    model.running_mean.fill_(7.0)
    ema.update(model)
    assert torch.equal(ema.average.running_mean, model.running_mean)


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_swap_exchanges_without_copying_and_undoes_itself(context):
    """In validation, which Lightning runs in inference mode, too; training goes on afterwards."""
    model = constant(1.0)
    ema = LitEma(constant(3.0), decay=0.9)
    homes = model.weight.data_ptr(), ema.average.weight.data_ptr()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    with context():
        ema.swap(model)
        assert model.weight[0, 0] == 3.0
        assert (ema.average.weight.data_ptr(), model.weight.data_ptr()) == homes
        ema.swap(model)
    assert (model.weight.data_ptr(), ema.average.weight.data_ptr()) == homes
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    ema.update(model)
    assert model.weight[0, 0] < 1.0


def test_state_resumes_exactly():
    """Count and average survive a state dict, also when the count had been read before."""
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    first = LitEma(model, decay=0.99)
    second = LitEma(copy.deepcopy(model), decay=0.99)
    second.update(model)
    for _ in range(5):
        with torch.no_grad():
            model.weight.add_(0.1)
        first.update(model)
    second.load_state_dict(first.state_dict())
    for ema in (first, second):
        ema.update(model)
    assert torch.equal(first.average.weight, second.average.weight)
    assert int(second.num_updates) == 6


def test_reset_starts_again():
    ema, model = LitEma(constant(0.0), decay=0.9), constant(4.0)
    ema.update(model)
    ema.reset(model)
    assert torch.equal(ema.average.weight, model.weight)
    assert int(ema.num_updates) == 0


def test_decay_outside_the_interval_is_refused():
    with pytest.raises(ValueError, match="outside"):
        LitEma(constant(0.0), decay=1.5)
