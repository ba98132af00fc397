"""Playing is reproducible, and the camera matrices tell the truth about the pictures."""

from dataclasses import replace

import numpy as np

from simulator.engine import load_model
from simulator.recorder import render, simulate


def block_positions(hammer) -> np.ndarray:
    model = load_model(hammer.scene)
    address = model.jnt_qposadr[model.body("block").jntadr[0]]
    return hammer.qpos[:, address : address + 3]


def test_a_disturbed_episode_keeps_clean_labels(hammer):
    """What is executed wanders by some 10 mrad from what is written down; fingers are left alone."""
    noisy = simulate("block_hammer_beat", 0, 50, noise=0.01)
    assert np.array_equal(hammer.states, hammer.executed)
    difference = noisy.executed - noisy.states
    assert 0.004 < difference[5:, :6].std() < 0.01 and not difference[:, [6, 13]].any()
    assert noisy.scene == hammer.scene and np.allclose(noisy.states[:5], hammer.states[:5], atol=1e-6)
    assert not np.array_equal(simulate("block_hammer_beat", 0, 50, noise=0.01, draw=1).qpos, noisy.qpos)


def test_joints_and_objects_are_measured(hammer):
    """Joints lag behind their targets; the block stands where the positions have it."""
    lag = np.abs(hammer.measured - hammer.executed)
    assert 0 < lag[:, :6].mean() < 0.03
    assert hammer.objects["hammer"].shape == hammer.objects["block"].shape == (len(hammer.qpos), 7)
    assert np.array_equal(hammer.objects["block"][:, :3], block_positions(hammer))
    assert hammer.states.shape == (len(hammer.qpos), 14) and hammer.endposes.shape == (len(hammer.qpos), 2, 7)
    assert np.allclose(np.linalg.norm(hammer.endposes[..., 3:], axis=-1), 1)


def test_physics_does_not_depend_on_how_often_it_is_saved(hammer):
    """At save_freq 25 every second frame is one of save_freq 50, to the last bit: the seed decides all of it."""
    denser = simulate("block_hammer_beat", 0, save_freq=25)
    assert denser.scene == hammer.scene and denser.success == hammer.success
    assert np.array_equal(denser.qpos[::2], hammer.qpos) and np.array_equal(denser.states[::2], hammer.states)


def test_the_block_projects_to_red_pixels(hammer, first_frame):
    """Intrinsics and extrinsics of the head camera lead from its place in the world to its picture."""
    view = first_frame.views["head_camera"]
    block = block_positions(hammer)[0] + [0, 0, 0.025]  # the middle of its upper face
    u, v, w = view.intrinsic @ view.extrinsic[0] @ np.append(block, 1)
    r, g, b = first_frame.frames["head_camera"][0, round(v / w), round(u / w)].astype(int)
    assert r > 150 and r > 4 * g and r > 4 * b


def test_both_matrices_of_a_camera_agree(first_frame):
    """cam2world_gl is the inverse of extrinsic_cv with y and z turned round."""
    for view in first_frame.views.values():
        extrinsic = np.vstack([view.extrinsic[0], [0, 0, 0, 1]])
        assert np.allclose(extrinsic @ view.cam2world_gl[0], np.diag([1, -1, -1, 1]))


def test_the_head_camera_is_robotwins(first_frame):
    """D435: 320 x 240, focal length 358.64, looking along (0, 0.6, -0.8) from (-0.032, -0.45, 1.35)."""
    view = first_frame.views["head_camera"]
    assert np.allclose(view.intrinsic, [[358.64, 0, 160], [0, 358.64, 120], [0, 0, 1]], atol=0.01)
    assert np.allclose(view.cam2world_gl[0, :3, 3], [-0.032, -0.45, 1.35])
    assert np.allclose(-view.cam2world_gl[0, :3, 2], [0, 0.6, -0.8])
    assert first_frame.frames["head_camera"].shape == (1, 240, 320, 3)


def test_a_wrist_camera_moves_with_its_arm(hammer, can_draw):
    """The head camera stands still."""
    where = render(replace(hammer, qpos=hammer.qpos[[0, 10]]), ("head", "left", "right")).views
    moved = {name: np.ptp(view.cam2world_gl[:, :3, 3], axis=0).max() for name, view in where.items()}
    used = "right_camera" if block_positions(hammer)[0, 0] > 0 else "left_camera"
    assert moved["head_camera"] == 0
    assert moved[used] > 0.05


def test_frames_between_repeat_the_last_that_was_drawn(hammer, can_draw):
    """Every third is drawn: those are the pictures that drawing all of them gives."""
    short = replace(hammer, qpos=hammer.qpos[::5][:5])
    every, third = (render(short, ("head",), draw_every).frames["head_camera"] for draw_every in (1, 3))
    assert [int(np.flatnonzero([np.array_equal(frame, other) for other in every])[0]) for frame in third] == [
        0,
        0,
        0,
        3,
        3,
    ]
