"""Laws of the adversary, alone and beside Lightning's automatic optimisation."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ldm.modules.losses.adversarial import Adversary, NLayerDiscriminator, hinge_loss


def make(**params):
    torch.manual_seed(0)
    return Adversary(**{"learning_rate": 1e-2, "start_step": 10, "warm_steps": 4, "ndf": 8, "n_layers": 2} | params)


def test_names_and_sizes_are_tamings():
    """2,764,737 + ... : taming's NLayerDiscriminator(3, 64, 3) with batch normalisation."""
    state = NLayerDiscriminator(64, 3).state_dict()
    weights = [name for name in state if name.endswith("weight")]
    assert weights == [f"main.{i}.weight" for i in (0, 2, 3, 5, 6, 8, 9, 11)]
    assert "main.0.bias" in state and "main.2.bias" not in state
    assert [state[f"main.{i}.weight"].shape[0] for i in (0, 2, 5, 8, 11)] == [64, 128, 256, 512, 1]


def test_a_patch_sees_70_pixels():
    """Receptive field of three layers of stride 2: a change 70 pixels away is not seen."""
    network = NLayerDiscriminator(4, 3).eval()
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


class Painter(pl.LightningModule):
    """One picture that learns to look real, with TrainedModel's hooks around its adversary."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.adversary = make(start_step=0, warm_steps=1, learning_rate=1e-3)
        self.adversary.discriminator.eval()  # without batch statistics, which see the batch
        self.picture = torch.nn.Parameter(torch.randn(1, 3, 32, 32) * 0.1)
        self.norms, self.dtypes, self.moved = [], [], []

    def training_step(self, batch, batch_idx):
        fake = self.picture.expand_as(batch)
        self.dtypes.append(torch.nn.functional.conv2d(fake, fake[:1]).dtype)
        return 100.0 * self.adversary(fake, batch)

    def on_after_backward(self):
        self.adversary.accumulate(1.0 / self.trainer.accumulate_grad_batches)

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.norms.append(self.picture.grad.norm().item())
        self.moved.append([p.grad.clone() for p in self.adversary.discriminator.parameters()])
        self.adversary.step()

    def configure_optimizers(self):
        return torch.optim.SGD([self.picture], lr=0.0)  # stands still, so that runs can be compared


def paint(batch_size, **trainer):
    model = Painter()
    before = [p.clone() for p in model.adversary.discriminator.parameters()]
    data = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    quiet["enable_model_summary"] = False
    pl.Trainer(max_epochs=1, **quiet, **trainer).fit(model, DataLoader(data, batch_size=batch_size))
    assert len(model.moved) == 1, "one step of the adversary for one of the model"
    assert any(not torch.equal(a, b) for a, b in zip(before, model.adversary.discriminator.parameters(), strict=True))
    return model


def test_the_trainers_accumulation_is_the_adversarys_too():
    whole, parts = paint(4), paint(1, accumulate_grad_batches=4)
    for a, b in zip(whole.moved[0], parts.moved[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-3)


def test_clipping_holds_the_model_and_leaves_the_adversary_alone():
    """The norm that is clipped is of the model's gradient alone; Adam bounds the adversary's steps by itself."""
    free, clipped = paint(4), paint(4, gradient_clip_val=1e-3)
    assert free.norms[0] > 1e-2 and clipped.norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(free.moved[0], clipped.moved[0], strict=True))


def test_a_scaler_of_fp16_does_not_reach_the_adversary():
    """The model's gradient is scaled and unscaled; the discriminator learns in fp32, unscaled, the same."""
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    plugin = pl.plugins.MixedPrecision("16-mixed", "cpu", scaler)
    plain, mixed = paint(4), paint(4, plugins=[plugin])
    assert mixed.dtypes == [torch.float16] and scaler.get_scale() == 16.0, "the step was made, not skipped"
    assert mixed.norms[0] == pytest.approx(plain.norms[0], rel=0.05)
    for a, b in zip(plain.moved[0], mixed.moved[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-3)
