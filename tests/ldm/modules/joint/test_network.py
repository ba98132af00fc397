"""Laws of the streams: the order of cameras means nothing, absent views are not seen, adapters start as nothing."""

import torch

from ldm.models.joint.prediction import predict
from ldm.modules.joint.attention import CrossViewAdapter, Keys, LevelEmbedding, OutputAdapter, attend
from tests.ldm.models.joint.conftest import CAMERAS, make_joint, make_joint_batch  # noqa: F401 - fixtures


def test_the_order_of_cameras_means_nothing(make_joint, make_joint_batch):  # noqa: F811
    """Neither in the config nor in the batch."""
    batch = make_joint_batch()
    one, other = make_joint(), make_joint(cameras=tuple(reversed(CAMERAS)))
    other.load_state_dict(one.state_dict())
    turned = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value for name, value in batch.items()
    }
    first, second = predict(one, batch, "joint", range(3)), predict(other, turned, "joint", range(3))
    assert torch.equal(first.actions, second.actions)
    assert all(torch.equal(first.frames[camera], second.frames[camera]) for camera in CAMERAS)


def test_views_see_each_other_through_adapters_alone(make_joint, make_joint_batch):  # noqa: F811
    model, batch = make_joint(), make_joint_batch()
    changed = batch | {"frames": batch["frames"] | {"left": -batch["frames"]["left"]}}
    before, after = (predict(model, each, "video", range(3)).frames["head"] for each in (batch, changed))
    assert torch.equal(before, after), "adapters start as the identity"
    with torch.no_grad():
        for adapter in model.network.exchange:
            torch.nn.init.normal_(adapter.exchange.to_out[0].weight)
    before, after = (predict(model, each, "video", range(3)).frames["head"] for each in (batch, changed))
    assert not torch.allclose(before, after, atol=1e-4)


def test_a_view_alone_and_no_view_at_all_have_answers(make_joint, make_joint_batch):  # noqa: F811
    model, batch = make_joint({"looks": True}), make_joint_batch()
    for valid in batch["view_valid"].values():
        valid[0] = False
        answer = predict(model, batch, "joint", range(3))
        assert torch.isfinite(answer.actions).all()
        assert all(torch.isfinite(frames).all() for frames in answer.frames.values())


def test_actions_look_at_frames_where_the_network_looks(make_joint, make_joint_batch):  # noqa: F811
    """Without, they know pictures by where the objects are alone."""
    batch = make_joint_batch()
    for looks in (False, True):
        model = make_joint({"looks": looks})
        with torch.no_grad():
            model.network.action.locate[-1].weight.zero_()
        changed = batch | {"frames": {camera: -frames for camera, frames in batch["frames"].items()}}
        one, other = (predict(model, each, "policy", range(3)).actions for each in (batch, changed))
        assert torch.equal(one, other) != looks


def test_attention_leaves_out_what_is_not_seen():
    k, v, q = torch.randn(3, 2, 1, 4, 8)
    seen = torch.tensor([[True, False, True, False]] * 2)
    kept = attend(q, [Keys(k[:, :, ::2], v[:, :, ::2], seen[:, ::2])])
    torch.testing.assert_close(attend(q, [Keys(k, v, seen)]), kept)


def test_adapters_begin_as_the_identity_and_level_and_time_are_told_apart():
    x = torch.randn(2, 1, 5, 16)
    adapter = CrossViewAdapter(16, 8)
    assert torch.equal(adapter(x, [adapter.read(torch.randn(2, 1, 3, 16), torch.ones(2, 3, dtype=torch.bool))]), x)
    assert torch.equal(OutputAdapter(16, 8)(x), x)
    told = LevelEmbedding(16)(torch.tensor([[-1, 0, 49]]), torch.tensor([[1.0, 1.0, 1.0]]))
    assert told.shape == (1, 3, 16) and not torch.allclose(told[0, 0], told[0, 1])
