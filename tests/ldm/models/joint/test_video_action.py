"""Laws of video and action together: hidden is absent, modes ask for what they say, missing things have no weight."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.joint.levels import MODES
from ldm.models.joint.loss import measure_loss
from ldm.models.joint.prediction import _ask_frames as ask_frames
from ldm.models.joint.prediction import draw_actions, own_options, predict, tell_actions


def only(mode: str) -> dict:
    return {"levels": {"shares": {mode: 1.0}}}


def all_frames_hidden(model, memory, seconds):
    empty = {c: torch.zeros(len(seconds), seconds.shape[1], *x.shape[1:]) for c, x in memory.source.items()}
    return ask_frames(model, empty, model.noisiest, seconds)


@pytest.mark.parametrize("visibility", ["isolated", "action_sees_video", "video_sees_action", "mutual"])
def test_hidden_frames_are_absent_to_actions_and_hidden_actions_to_frames(make_joint, make_joint_batch, visibility):
    model, batch = make_joint({"visibility": visibility}), make_joint_batch(frames=2)
    memory = model.observe(batch)
    hidden = all_frames_hidden(model, memory, batch["seconds"])
    absent = draw_actions(model, memory, None, [])
    torch.testing.assert_close(draw_actions(model, memory, hidden, []), absent, rtol=1e-4, atol=1e-5)
    nothing = tell_actions(torch.zeros_like(absent))
    nothing.hidden[:] = True
    without, beside = (model.network(memory, hidden, actions).frames for actions in (None, nothing))
    for camera, frames in without.items():
        torch.testing.assert_close(beside[camera], frames, rtol=1e-4, atol=1e-5)


def test_told_frames_change_actions_and_told_actions_frames(make_joint, make_joint_batch):
    model, batch = make_joint(), make_joint_batch()
    answers = {mode: predict(model, batch, mode, range(3)) for mode in (*MODES, "imagine")}
    assert not torch.allclose(answers["inverse"].actions, answers["policy"].actions, atol=1e-4)
    assert not torch.allclose(answers["forward"].frames["head"], answers["video"].frames["head"], atol=1e-4)
    assert not answers["policy"].frames and answers["video"].actions is None
    for camera, side in (("head", 32), ("left", 16)):
        assert answers["joint"].frames[camera].shape == (3, 1, 3, side, side)
        torch.testing.assert_close(answers["imagine"].frames[camera], answers["video"].frames[camera])
    torch.testing.assert_close(answers["joint"].actions, answers["policy"].actions, msg="it acts as without frames")
    told = predict(model, batch | {"actions": answers["joint"].actions}, "forward", range(3)).frames["head"]
    torch.testing.assert_close(answers["joint"].frames["head"], told, rtol=1e-3, atol=1e-4)
    led = predict(model, batch | {"future": answers["imagine"].frames}, "inverse", range(3)).actions
    torch.testing.assert_close(answers["imagine"].actions, led, rtol=1e-3, atol=1e-4)


def test_acting_computes_no_video(make_joint, make_joint_batch, monkeypatch):
    model, batch = make_joint(), make_joint_batch()
    monkeypatch.setattr(model.network.tokens, "asked", lambda *_: pytest.fail("frames to come were made"))
    monkeypatch.setattr(model.network.head, "forward", lambda *_: pytest.fail("a frame was drawn"))
    monkeypatch.setattr(model.first_stage_model, "encode", lambda *_: pytest.fail("a frame was encoded"))
    assert predict(model, batch, "policy", range(3)).actions.shape == (3, 4, 14)
    acting = make_joint(**only("policy"))
    monkeypatch.setattr(acting.first_stage_model, "encode", lambda *_: pytest.fail("a frame was encoded"))
    assert measure_loss(acting, batch).parts["actions"].isfinite()


@pytest.mark.parametrize(
    ("mode", "loss"), [*((mode, "regression") for mode in MODES), ("joint", "mip"), ("joint", "diffusion")]
)
def test_each_mode_teaches_what_it_should(make_joint, make_joint_batch, mode, loss):
    action = {"state_size": 14, "chunk": 4, "execute": 2, "objects": 2, "object_weight": 0.0, "loss": loss, "steps": 2}
    model, batch = make_joint(action=action, **only(mode)), make_joint_batch()
    result = measure_loss(model, batch)
    result.loss.backward()
    network = model.network
    learns = {"video": network.head.out.weight, "actions": network.action.head[1].weight}
    taught = {"joint": {"video", "actions"}, "policy": {"actions"}, "video": {"video"}, "forward": {"video"}}
    for name, weight in learns.items():
        got = weight.grad is not None and bool(weight.grad.any())
        assert got == (name in taught.get(mode, {"actions"})), name
    assert torch.isfinite(result.loss) and predict(model, batch, mode, range(3))


@pytest.mark.parametrize("mask", ["temporal", "spatial"])
def test_both_masks_train_and_weigh_only_what_is_asked(make_joint, make_joint_batch, mask):
    levels = {"shares": {"video": 1.0}, "mask": mask, "known": 1.0}
    model, batch = make_joint(levels=levels), make_joint_batch(frames=3)
    drawn = model.draw_levels(batch)
    batch["future"] = {camera: frames.clone() for camera, frames in batch["future"].items()}
    loss = measure_loss(model, batch).parts["video"]
    first = drawn.given["head"][:, 0].all(dim=1) & ~drawn.given["head"][:, 1].any(dim=1)
    assert torch.isfinite(loss) and loss.requires_grad and (mask == "spatial" or first.any())


def test_missing_actions_frames_and_objects_have_no_weight(make_joint, make_joint_batch):
    model, batch = make_joint(**only("joint")), make_joint_batch(frames=2)
    batch["action_valid"][:, 2:] = batch["object_valid"][:, 1] = False
    batch["future_valid"]["head"][:, 1] = batch["future_valid"]["left"][:] = False
    first = measure_loss(model, batch)
    batch["actions"][:, 2:] = batch["objects"][:, 1] = 9.0
    batch["future"]["head"][:, 1] = batch["future"]["left"][:] = 9.0
    for name, value in measure_loss(model, batch).parts.items():
        torch.testing.assert_close(value, first.parts[name])


def test_episodes_without_actions_teach_video_alone_and_no_future_policy_alone(make_joint, make_joint_batch):
    model, batch = make_joint(**only("joint")), make_joint_batch()
    batch["action_valid"][:] = False
    result = measure_loss(model, batch)
    assert result.parts["actions"] == 0 and result.parts["video"] > 0 and result.loss.requires_grad
    batch = make_joint_batch()
    for valid in batch["future_valid"].values():
        valid[:] = False
    result = measure_loss(model, batch)
    assert result.parts["video"] == 0 and result.parts["actions"] > 0


def test_an_absent_view_is_not_looked_at(make_joint, make_joint_batch):
    model, batch = make_joint(**only("joint")), make_joint_batch()
    batch["view_valid"]["left"][:] = False
    first = predict(model, batch, "joint", range(3))
    batch["frames"]["left"] = batch["frames"]["left"] + 1.0
    second = predict(model, batch, "joint", range(3))
    torch.testing.assert_close(second.actions, first.actions)
    for camera, frames in first.frames.items():
        torch.testing.assert_close(second.frames[camera], frames)


def test_a_loss_depends_on_the_seeds_alone(make_joint, make_joint_batch):
    video = {"scale_factor": 1.0}
    action = {"state_size": 14, "chunk": 4, "execute": 2, "objects": 2, "loss": "diffusion"}
    model, batch = make_joint(video=video, action=action), make_joint_batch()
    assert measure_loss(model, batch).loss == measure_loss(model, batch).loss
    assert measure_loss(model, batch).loss != measure_loss(model, batch | {"seed": batch["seed"] + 9}).loss


def test_guidance_of_one_is_none_and_more_follows_the_sentence(make_joint, make_joint_batch):
    from ldm.models.diffusion.sampling import SamplingOptions

    model, batch = (
        make_joint({"decoder": {"channels": 8, "masks": 0}}, video={"scale_factor": 1.0, "parameterization": "v"}),
        make_joint_batch(),
    )
    assert (own_options(make_joint()).steps, own_options(model).steps) == (1, 10), "as many as in training, or ten"
    plain, strong = (predict(model, batch, "video", range(3), SamplingOptions(3, s, 1.0)) for s in (1.0, 3.0))
    assert not torch.allclose(plain.frames["head"], strong.frames["head"])
    assert predict(model, batch, "forward", range(3), SamplingOptions(3, 3.0, 1.0)).frames


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action": None}, "action and network_config.params.action go together"),
        ({"network": {"latent": {"channels": 96, "factor": 4, "patch": 2}}}, "its latent.channels is 96"),
        ({"network": {"cameras": {"front": "head"}}}, "cameras.front"),
        ({"network": {"visibility": "none"}}, "visibility: 'none' is not one of"),
        ({"video": {"scale_factor": 1.0, "parameterization": "v"}}, "masks predict the clean latent"),
        ({"levels": {"shares": {"joint": 0.5}}}, "levels.shares"),
        ({"levels": {"shares": {"joint": 1.0}, "mask": "random"}}, "levels.mask"),
        ({"action": {"state_size": 14, "chunk": 4, "execute": 5, "objects": 2}}, "action.execute: 5 of a chunk of 4"),
        (
            {"video": {"scale_factor": 1.0, "parametrization": "v"}},
            "model.params.video: .* did you mean 'parameterizat",
        ),
        (
            {"network": {"stream": {"width": 16, "heads": 2, "head_channels": 8}}},
            "stream: .* needs 'depth', 'adapters'",
        ),
        ({"network": {"encoders": {"head": {}, "wrist": {}}}}, "encoders.head: KeypointEncoder needs 'channels'"),
        ({"network": {"action_stream": {"hiden": 16}}}, "'hiden'; did you mean 'hidden'"),
        ({"network": {"text": None}}, "text: wanted a mapping, got None"),
    ],
)
def test_what_does_not_fit_is_one_sentence(make_joint, changes, says):
    with pytest.raises(UserError, match=says):
        make_joint(**changes)


@pytest.mark.parametrize(
    ("visibility", "mode", "says"),
    [("isolated", "inverse", "do not see frames"), ("action_sees_video", "forward", "do not see actions"),
     ("mutual", "dream", "is not one of")],
)  # fmt: skip
def test_a_mode_that_the_model_lacks_is_refused(make_joint, make_joint_batch, visibility, mode, says):
    with pytest.raises(UserError, match=says):
        predict(make_joint({"visibility": visibility}), make_joint_batch(), mode, range(3))
