"""Laws of the adversary."""

import pytest
import torch

from ldm.modules.losses.adversarial import Adversary, NLayerDiscriminator, hinge_loss


def make(**params):
    torch.manual_seed(0)
    return Adversary(**{"learning_rate": 1e-2, "start_step": 10, "warm_steps": 4, "ndf": 8, "n_layers": 2} | params)


def test_names_and_sizes_are_tamings():
    """2,764,737 + ... : taming's NLayerDiscriminator(3, 64, 3) with batch normalisation."""
    state = NLayerDiscriminator(3, 64, 3).state_dict()
    weights = [name for name in state if name.endswith("weight")]
    assert weights == [f"main.{i}.weight" for i in (0, 2, 3, 5, 6, 8, 9, 11)]
    assert "main.0.bias" in state and "main.2.bias" not in state
    assert [state[f"main.{i}.weight"].shape[0] for i in (0, 2, 5, 8, 11)] == [64, 128, 256, 512, 1]


def test_a_patch_sees_70_pixels():
    """Receptive field of three layers of stride 2: a change 70 pixels away is not seen."""
    network = NLayerDiscriminator(3, 4, 3).eval()
    frame = torch.zeros(1, 3, 128, 128, requires_grad=True)
    judged = network(frame)
    judged[0, 0, 7, 7].backward()
    seen = frame.grad.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [70, 70]


def test_hinge_loss_in_closed_form():
    assert hinge_loss(torch.tensor([2.0]), torch.tensor([-3.0])) == 0
    assert hinge_loss(torch.tensor([0.0]), torch.tensor([0.5])) == 0.5 * (1.0 + 1.5)


def test_the_weight_warms_in():
    adversary = make()
    assert [adversary.weight(step) for step in (0, 9, 10, 11, 13, 100)] == [0, 0, 0.25, 0.5, 1, 1]


def test_the_models_gradient_does_not_touch_the_discriminator():
    adversary, frame = make(), torch.randn(2, 3, 32, 32, requires_grad=True)
    adversary(frame, torch.randn(2, 3, 32, 32)).backward()
    assert frame.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in adversary.parameters())


def test_the_discriminator_learns_to_tell_real_from_fake():
    adversary, losses = make(), []
    real, fake = torch.ones(2, 3, 32, 32), -torch.ones(2, 3, 32, 32)
    for _ in range(15):
        adversary(fake, real)
        losses.append(adversary.accumulate(1.0).item())
        adversary.step()
    assert losses[-1] < 0.2 * losses[0]


def test_gradients_accumulate_to_the_mean():
    whole, halves = make(), make()
    for frozen in (whole, halves):
        frozen.discriminator.eval()  # without batch statistics, which see the batch
    real, fake = torch.randn(2, 4, 3, 32, 32)
    whole(fake, real)
    whole.accumulate(1.0)
    for part in (slice(0, 2), slice(2, 4)):
        halves(fake[part], real[part])
        halves.accumulate(0.5)
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


def test_nothing_shown_is_nothing_learnt():
    adversary = make()
    before = {name: value.clone() for name, value in adversary.state_dict().items()}
    assert adversary.accumulate(1.0) is None
    adversary.step()
    assert all(torch.equal(value, before[name]) for name, value in adversary.state_dict().items())


def test_too_small_a_picture_is_said():
    with pytest.raises(ValueError, match="wanted at least 16"):
        make()(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
