"""Laws of the models."""

import pytest
import torch


def test_accumulated_micro_batches_give_the_whole_batch_gradient(make_model, make_batch, loss_of):
    """8 x 2 and 16."""
    model, batch = make_model(), make_batch(16)
    loss_of(model, batch).loss.backward()
    whole = [p.grad.clone() for p in model.trained_parameters()]
    model.zero_grad()
    for start in range(0, 16, 2):
        part = {name: value[start : start + 2] for name, value in batch.items()}
        (loss_of(model, part).loss / 8).backward()
    for a, p in zip(whole, model.trained_parameters(), strict=True):
        torch.testing.assert_close(p.grad, a, atol=1e-6, rtol=1e-5)


def test_a_few_step_model_trains_where_its_sampler_goes(make_model):
    assert sorted(make_model(training_steps=2).levels) == [499, 999]
    assert sorted(make_model().levels) == list(range(1000))


@pytest.mark.parametrize("parameterization", ["eps", "x0", "v"])
def test_a_zero_network_loses_the_targets_power(make_model, parameterization, make_batch):
    """The output layer starts at zero, so the first loss is the mean square of what is asked for."""
    model, batch = make_model(parameterization=parameterization), make_batch(4)
    draws = model.draw(batch)
    x_start, cond = model.get_input(batch, draws, 0.0)
    target = model.schedule.training_target(parameterization, x_start, draws.t, draws.eps)
    result = model.p_losses(x_start, cond, draws.t, draws.eps)
    torch.testing.assert_close(result.loss, (target**2).mean())
    assert result.per_sample.shape == (4,)


def test_one_batch_is_learnt(make_model, make_batch, loss_of):
    """Loss on one repeated batch with fixed noise falls tenfold."""
    model, batch = make_model(), make_batch(2)
    optimizer = torch.optim.AdamW(model.trained_parameters(), lr=1e-2)
    first = loss_of(model, batch).loss.item()
    for _ in range(60):
        loss = loss_of(model, batch).loss
        if loss.item() < first / 10:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"{first} fell to {loss.item()} only")


def test_context_is_the_unscaled_mode_and_target_is_scaled(make_model, make_batch):
    model, batch = make_model(scale_factor=0.5), make_batch()
    frame = batch["source_frame"]
    torch.testing.assert_close(model.encode_first_stage(frame), 0.5 * model.encode_context(frame))
    torch.testing.assert_close(model.decode_first_stage(model.encode_first_stage(frame)), frame)


def test_predicting_no_change_copies_the_source(make_model, make_batch):
    """With predict_change a network that says zero returns the input frame exactly."""
    model, batch = make_model(predict_change=True, scale_factor=3.0), make_batch()
    context = model.encode_context(batch["source_frame"])
    assert torch.equal(model.decode_first_stage(torch.zeros_like(context), context), batch["source_frame"])
    with pytest.raises(ValueError, match="needs the source latent"):
        model.decode_first_stage(context)


def test_ema_scope_shows_the_average_and_puts_the_network_back(make_model):
    model = make_model()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError), model.ema_scope():
        shown = model.model.diffusion_model.out[-1].bias
        assert torch.equal(shown, before["model_ema.average.diffusion_model.out.2.bias"])
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_frozen_parts_stay_in_eval_and_out_of_the_optimiser(make_model):
    model = make_model(cond_stage_trainable=False).train()
    assert model.model.training and not model.cond_stage_model.training and not model.first_stage_model.training
    trained = {id(p) for p in model.trained_parameters()}
    assert not any(id(p) in trained for p in model.cond_stage_model.parameters())
    assert not any(p.requires_grad for p in model.cond_stage_model.parameters())


def test_wrong_frames_and_parameterizations_are_refused(make_model):
    with pytest.raises(ValueError, match="multiples of 2"):
        make_model().latent_shape(torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="eps, x0, v"):
        make_model(parameterization="noise")


def test_validation_noise_belongs_to_the_pair(make_model, make_batch):
    """Not to its place: a batch of 4 gives the mean of its halves, whichever process or batch they are in."""
    model, batch = make_model(), make_batch(4)
    halves = [{name: value[i : i + 2] for name, value in batch.items()} for i in (0, 2)]
    losses = []
    model.log = lambda name, value, **_: losses.append(value) if name == "val/loss_simple" else None
    with torch.no_grad():
        for part, place in ((batch, 0), (halves[0], 1), (halves[1], 0)):
            torch.nn.init.normal_(model.model.diffusion_model.out[-1].weight, generator=torch.manual_seed(0))
            model.eval().validation_step(part, place)
    torch.testing.assert_close(losses[0], (losses[1] + losses[2]) / 2)
