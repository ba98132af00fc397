"""Laws of the smoothed loss."""

from types import SimpleNamespace

import pytest
import torch

from ldm.callbacks.smoothed_loss import SmoothedLoss


class Module:
    device = torch.device("cpu")

    def __init__(self):
        self.logged = []

    def log(self, name, value, **_):
        assert name == "train/loss_smoothed"
        self.logged.append(float(value))


def feed(callback, losses, micro_batches=1):
    module, trainer = Module(), SimpleNamespace(accumulate_grad_batches=micro_batches)
    for loss in losses:
        callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, {"pair_id": ["a"]}, 0)
    return module.logged


def test_it_is_the_mean_of_the_last_losses():
    assert feed(SmoothedLoss(3), [1.0, 2.0, 3.0, 10.0]) == [1.0, 1.5, 2.0, 5.0]


def test_accumulation_does_not_shrink_it():
    """Lightning divides the loss by the micro-batches; the raw loss is meant."""
    assert feed(SmoothedLoss(2), [0.25, 0.5], micro_batches=4) == [1.0, 1.5]


def test_a_resumed_run_goes_on_with_the_window():
    first, second = SmoothedLoss(3), SmoothedLoss(3)
    feed(first, [1.0, 2.0])
    second.load_state_dict(first.state_dict())
    second.on_train_start(None, Module())
    assert feed(second, [6.0]) == [3.0]


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="window 0"):
        SmoothedLoss(0)
