"""Cameras joined by channel: nothing is lost on the way, masks keep to one camera, every mode answers by camera."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.joint.joined_views import JOINED, JoinedViews
from ldm.models.joint.levels import MODES
from ldm.models.joint.loss import measure_loss
from ldm.models.joint.prediction import predict
from tests.ldm.models.joint.conftest import CAMERAS

SIDE = 32
ENCODER = {"channels": 8, "keypoints": 4, "blocks": 1, "values": 2, "pictures": 3}
NETWORK = {
    "encoders": {JOINED: ENCODER},
    "cameras": {JOINED: JOINED},
    "sides": {JOINED: SIDE},
    "latent": {"channels": 3 * 48, "factor": 4, "patch": 2},
    "decoder": {"channels": 8, "masks": 3 * 16},
    "adapters": False,
}
VIDEO = {"scale_factor": 1.0, "training_steps": 1, "joined": CAMERAS}


@pytest.fixture
def model(make_joint):
    return make_joint(NETWORK, cameras=(), video=VIDEO)


def test_pictures_come_back_as_they_went(model, make_joint_batch):
    batch = make_joint_batch(frames=2)
    joined = model.join_views(batch)
    assert joined["future"][JOINED].shape == (3, 2, 9, SIDE, SIDE)
    assert model.join_views(joined) is joined
    again = model.split_views({JOINED: model.decode(model.encode(joined["future"][JOINED]))})
    for camera, frames in batch["future"].items():
        torch.testing.assert_close(again[camera], frames)


def test_a_mask_acts_on_the_same_pixels_of_one_camera(model):
    """Channels m, m + M ... of the latent are one pixel's colours, for M masks."""
    only = torch.zeros(1, 1, 9, SIDE, SIDE)
    only[:, :, 3:6, 0, 0] = 1.0  # the second camera's first pixel
    touched = model.encode(only)[0, 0, :, 0, 0].nonzero().flatten() % model.network.head.masks
    assert len(touched) == 3 and len(set(touched.tolist())) == 1


def test_every_mode_answers_by_camera_and_teaches(model, make_joint_batch):
    batch = make_joint_batch()
    assert model.cameras == CAMERAS
    for mode in MODES:
        frames = predict(model, batch, mode, range(3)).frames
        assert {camera: x.shape[-1] for camera, x in frames.items()} in ({}, CAMERAS)
    measure_loss(model.train(), batch).loss.backward()
    assert model.network.tokens.encoders[JOINED].stem[0].weight.grad.any()


def test_a_camera_is_there_where_one_of_them_is(make_joint_batch):
    batch = make_joint_batch()
    batch["view_valid"] = {camera: torch.tensor([camera == "left", False, True]) for camera in CAMERAS}
    assert JoinedViews(CAMERAS, SIDE).join(batch)["view_valid"][JOINED].tolist() == [True, False, True]


def test_a_network_of_other_pictures_is_refused(make_joint):
    with pytest.raises(UserError, match="encoders' pictures"):
        make_joint(NETWORK | {"encoders": {JOINED: ENCODER | {"pictures": 1}}}, cameras=(), video=VIDEO)
    named = {"cameras": {"all": JOINED}, "sides": {"all": SIDE}}
    with pytest.raises(UserError, match=r"cameras is \('all',\)"):
        make_joint(NETWORK | named, cameras=(), video=VIDEO)
    with pytest.raises(UserError, match="latent.channels"):
        make_joint(NETWORK | {"latent": {"channels": 48, "factor": 4, "patch": 2}}, cameras=(), video=VIDEO)
