"""Laws of preparing episodes: every layout, the split of the pairs, resuming, growing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dataset_tools.episode import Joints, Recording
from dataset_tools.prepare_dataset import main as prepare_dataset
from dataset_tools.prepare_episodes import main
from dataset_tools.preparing import episodes as preparing
from dataset_tools.readers.detect import find_episodes
from dataset_tools.writers.robotwin import write_hdf5_episode
from formats.pictures import read_picture
from formats.positions import read_positions
from formats.prepared_episodes import EpisodeFolder, read_episodes
from formats.prepared_folder import read_manifest
from simulator.recorder import Trajectory
from tests.dataset_tools.layouts import ROBOTS, make_states, read_index, square_frames, tree, write_robot_export


@pytest.mark.parametrize("layout", ["hdf5", "pkl", "xpolicylab", "rdt", "clip", "lerobot_2", "flat_frames"])
def test_every_layout_becomes_windows(tmp_path, episode_file, layout):
    """Frame t is frame t, and the action there leads to the target of frame t + 1, however the source tells it."""
    length = 12
    path = episode_file(layout, number=3, length=length)
    folder = path if layout == "lerobot_2" else tmp_path / "data"
    output = tmp_path / "out"
    assert main(["--episodes", str(folder), "--output", str(output), "--size", "64", "--chunk", "4"]) == 0
    (episode,) = read_episodes(output)
    assert (episode.number, episode.length, episode.split) == (3, length, "train")
    opened = EpisodeFolder(output)
    for t in (0, 5, length - 1):
        (frame,) = opened.window(0, t, chunk=1).frames.values()
        assert frame.shape == (64, 64, 3) and read_index(frame) == t
    if layout in ("hdf5", "pkl"):  # the others' recorder decides
        window = opened.window(0, 5, chunk=2)
        assert np.allclose(window.actions, make_states(length)[6:8])
        assert np.allclose(window.state, make_states(length)[5])


@pytest.mark.parametrize("robot", ROBOTS)
def test_exports_of_agibot_fractal_and_bridge_become_windows(tmp_path, robot, capsys):
    """Their cameras, rates, column names and sizes; where actions are no targets, that is said before the work."""
    rate, cameras, state_names, action_names = ROBOTS[robot]
    arguments = ["--episodes", str(write_robot_export(tmp_path / robot, robot)), "--output", str(tmp_path / "out")]
    (first,) = find_episodes(tmp_path / robot)
    assert first.camera == {"agibot": "head", "fractal": "image", "bridge": "image_0"}[robot]
    assert set(first.cameras) == set(cameras), "no depth among them"
    assert first.joints.state_names == state_names and first.joints.action_names == (action_names or state_names)
    if action_names is not None:
        assert main(arguments) == 2 and "say --actions deltas" in capsys.readouterr().err
        assert not (tmp_path / "out").exists(), "refused before the work"
    assert main([*arguments, "--camera", *cameras, "--size", "32", "--actions", "deltas"]) == 0
    opened = EpisodeFolder(tmp_path / "out")
    assert opened.cameras == cameras and opened.episodes[0].instructions == ("move the square",)
    window = opened.window(0, 3, chunk=2, ahead=(6,))
    assert all(read_index(frame) == 3 for frame in window.frames.values())
    assert window.seconds[0] == pytest.approx(6 / rate)
    assert np.allclose(window.state, make_states(12, len(state_names))[3], atol=1e-6)
    wanted = make_states(12, len(state_names)) + 1 if action_names is None else make_states(12, len(action_names))
    assert np.allclose(window.actions, wanted[3:5], atol=1e-6) and not np.isnan(opened.statistics.action_std).any()


def test_cameras_of_several_robots_go_by_one_name(tmp_path, capsys):
    """Another camera under the same name is another recording."""
    source = write_robot_export(tmp_path / "bridge", "bridge")
    arguments = ["--episodes", str(source), "--size", "16", "--actions", "deltas", "--output", str(tmp_path / "out")]
    for camera in ("image_0", "image_2"):
        assert main([*arguments, "--camera", camera, "--named", "head_camera"]) == 0
        done = json.loads((tmp_path / "out/move_the_square/0/episode.json").read_text())
        assert done["episode"]["cameras"] == ["head_camera"] and done["source"].endswith(f"head_camera={camera}")
    assert EpisodeFolder(tmp_path / "out").frames(0, "head_camera").shape == (12, 16, 16, 3)
    assert main([*arguments, "--camera", "image_0", "--named", "a", "b"]) == 2
    assert "--named a b for 1 cameras" in capsys.readouterr().err


def test_pairs_of_the_prepared_frames_are_those_of_the_recording(tmp_path, episodes_folder):
    """Prepared episodes are read again: the same pairs, splits and seconds as from what they were made of."""
    data = episodes_folder(count=3)
    assert main(["--episodes", str(data), "--output", str(tmp_path / "episodes"), "--size", "64"]) == 0
    for name in ("data", "episodes"):
        arguments = ["--episodes", str(tmp_path / name), "--output", str(tmp_path / f"{name}_pairs"), "--size", "64"]
        assert prepare_dataset([*arguments, "--horizon-seconds", "1", "--workers", "1"]) == 0
    first, second = (read_manifest(tmp_path / f"{name}_pairs") for name in ("data", "episodes"))
    kept = ("pair_id", "instruction", "split", "task", "episode", "source_index", "target_index", "frames_per_second")
    assert [[getattr(pair, name) for name in kept] for pair in first] == [
        [getattr(pair, name) for name in kept] for pair in second
    ]
    assert read_index(read_picture(second[0].target_path(tmp_path / "episodes_pairs")).pixels) == 5


def test_pairs_become_episodes_of_two_frames(tmp_path, prepared):
    """Their split is that of their episode; their seconds are those between the frames."""
    pairs = prepared("--horizon", "5", count=12)
    assert main(["--episodes", str(pairs), "--output", str(tmp_path / "out"), "--size", "64"]) == 0
    made = {episode.episode_id: episode for episode in read_episodes(tmp_path / "out")}
    splits = {pair.episode: pair.split for pair in read_manifest(pairs)}
    assert len(made) == len(read_manifest(pairs)) and all(e.split == splits[e.number] for e in made.values())
    opened = EpisodeFolder(tmp_path / "out")
    window = opened.window(0, 0, chunk=1, ahead=(1,))
    first, later = (read_index(frame) for frame in (window.frames["head_camera"], window.future["head_camera"][0]))
    assert later - first == 5 and window.seconds[0] == pytest.approx(5 / 5.0) and not window.action_valid.any()


def test_of_many_episodes_some_are_chosen_and_more_are_added(tmp_path, caplog):
    """A larger number holds the smaller one's; thousands of sentences are counted together."""
    sentences = ("", *(f"put {number} into the bowl" for number in range(24)))
    source = write_robot_export(tmp_path / "widowx", "bridge", sentences, length=2)
    arguments = ["--episodes", str(source), "--size", "16", "--actions", "deltas", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--max-episodes", "5"]) == 0
    few = {episode.episode_id for episode in read_episodes(tmp_path / "out")}
    assert len(few) == 5 and main([*arguments, "--max-episodes", "0"]) == 2
    with caplog.at_level("INFO"):
        assert main(arguments) == 0
    all_of_them = {episode.episode_id: episode for episode in read_episodes(tmp_path / "out")}
    assert few < all_of_them.keys() and "25 tasks, train" in caplog.text
    assert all_of_them["widowx/0"].instructions == ("widowx",), "an empty sentence becomes the words of the set's name"


def test_the_noise_of_an_operator_stays_out_of_the_labels():
    """The state is what was executed, the action the script's next target."""
    clean, executed = make_states(6), make_states(6) + 0.5
    motion = preparing.make_motion(
        Joints(executed, clean, in_force=True, measured=executed, objects={"a": np.ones((6, 7))})
    )
    assert np.array_equal(motion.states, executed) and np.array_equal(motion.actions[:-1], clean[1:])
    assert motion.objects.shape == (6, 1, 7)
    begun = np.concatenate([np.zeros((1, 14)), clean[1:]])  # RoboTwin 1.0 before the first target
    assert np.array_equal(preparing.make_motion(Joints(begun, begun)).states[0], clean[1])
    led = preparing.make_motion(Joints(executed, clean))  # LeRobot: the action of a frame leads to the next
    assert np.array_equal(led.actions, clean)


def test_a_simulated_file_tells_all_of_it(tmp_path):
    """Several cameras in sizes of their own, executed targets, measured joints and objects; RoboTwin's keys read on."""
    clean = make_states(6)
    frames = {"head_camera": square_frames(6), "left_camera": square_frames(6)}
    objects = {"hammer": np.ones((6, 7)), "block": np.zeros((6, 7))}
    simulation = Trajectory("", True, objects["block"], clean, clean + 0.5, clean + 0.25, objects, np.zeros((6, 2, 7)))
    path = tmp_path / "data" / "block_hammer_beat" / "demo_clean" / "data" / "episode0.hdf5"
    attributes = {"save_freq": 15, "operator_noise": 0.01}
    write_hdf5_episode(path, frames, clean, attributes=attributes, simulation=simulation)
    arguments = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--size", "32", "16"]
    assert main([*arguments, "--camera", "head_camera", "left_camera", "--instruction", "hit it"]) == 0
    opened = EpisodeFolder(tmp_path / "out")
    (episode,) = opened.episodes
    assert episode.operator_noise == 0.01 and episode.frames_per_second == pytest.approx(250 / 15)
    assert episode.objects == ("block", "hammer") and episode.instructions == ("hit it",)
    window = opened.window(0, 1, chunk=2, ahead=(1,))
    assert [frame.shape[0] for frame in window.frames.values()] == [32, 16]
    assert np.allclose(window.state - clean[1], 0.5) and np.allclose(window.measured - clean[1], 0.25)
    assert np.allclose(window.actions, clean[2:4]) and window.objects[:, 0].tolist() == [0, 1]


def test_the_shortest_camera_decides_the_length(tmp_path, episode):
    """One camera may have lost its last frames: rows and pictures end with it."""
    whole = episode("hdf5", length=12)
    views = {"head_camera": whole, "left_camera": replace(whole, camera="left_camera", length=9)}
    recording = Recording(views, "push/0")
    options = preparing.EpisodeOptions(dict.fromkeys(views, 16), val=0, test=0)
    preparing.prepare_episodes([recording], tmp_path / "out", options)
    opened = EpisodeFolder(tmp_path / "out")
    assert opened.episodes[0].length == 9 and len(opened.motions[0].states) == 9
    assert opened.frames(0, "head_camera").shape[0] == opened.frames(0, "left_camera").shape[0] == 9


def test_the_split_is_that_of_the_pairs(tmp_path, prepared):
    """An episode that one folder tests on is nobody's training episode."""
    pairs = prepared("--horizon", "5", count=12)
    output = tmp_path / "episodes"
    assert main(["--episodes", str(tmp_path / "data"), "--output", str(output), "--size", "16"]) == 0
    assert {(e.number, e.split) for e in read_episodes(output)} == {(p.episode, p.split) for p in read_manifest(pairs)}
    training = len(read_episodes(output, "train"))
    assert json.loads((output / "statistics.json").read_text())["episodes"] == training < 12


def test_a_folder_grows_and_nothing_is_done_twice(tmp_path, episodes_folder, monkeypatch):
    """Interrupted or given more episodes, it ends as if made at once; other options are refused."""
    data = str(episodes_folder(count=2))
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    arguments = ["--episodes", data, "--size", "16", "--output"]
    assert main([*arguments, str(grown)]) == 0
    episodes_folder(count=3)
    assert main([*arguments, str(grown), "--workers", "1"]) == 0
    assert main([*arguments, str(whole)]) == 0
    both = [{k: v for k, v in tree(folder).items() if not k.endswith(".npz")} for folder in (grown, whole)]
    assert both[0] == both[1] and tree(grown).keys() == tree(whole).keys()
    monkeypatch.setattr(preparing, "write_episode", lambda *_: pytest.fail("nothing was to be done"))
    assert main([*arguments, str(grown)]) == 0
    assert main([*arguments, str(grown), "--val", "0.2"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "16", "32"], "2 numbers of --size for 1 cameras"),
        (["--size", "4"], "give 8 to 4096"),
        (["--chunk", "0"], "give 1 to 1000"),
        (["--camera", "top"], "no camera 'top'"),
        (["--val", "2"], "fractions"),
        (["--output", "{data}"], "choose another --output"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, episodes_folder, capsys, arguments, message):
    data = str(episodes_folder(count=1))
    given = [argument.format(data=data) for argument in arguments]
    assert main(["--episodes", data, "--output", str(tmp_path / "out"), *given]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_pairs_know_where_grippers_and_objects_are_in_their_target(tmp_path):
    """From the recording, and from the episodes prepared of it, where only drawn frames are seen."""
    clean, moves = make_states(9), np.zeros((9, 2, 7))
    moves[:, :, 0] = 0.01 * np.arange(9)[:, None] + [0, 1]
    simulation = Trajectory("", True, clean, clean, clean, clean, {"block": moves[:, 1] + 1}, moves)
    path = tmp_path / "data" / "block_handover" / "demo_clean" / "data" / "episode0.hdf5"
    written = {"endposes": moves, "attributes": {"save_freq": 15, "draw_every": 2}, "simulation": simulation}
    write_hdf5_episode(path, {"head_camera": square_frames(9)}, clean, **written)
    sources = tmp_path / "data", tmp_path / "episodes"
    assert main(["--episodes", str(sources[0]), "--output", str(sources[1]), "--size", "16"]) == 0
    for source, horizon, first in ((sources[0], 4, "block_handover/0/2-6"), (sources[1], 2, "block_handover/0/1-3")):
        output = tmp_path / f"pairs_{source.name}"
        assert prepare_dataset(["--episodes", str(source), "--output", str(output), "--horizon", str(horizon)]) == 0
        found = read_positions(output)
        assert found.keys() == {pair.pair_id for pair in read_manifest(output)}
        assert found[first] == {
            "left_gripper": (0.06, 0.0, 0.0),
            "right_gripper": (1.06, 0.0, 0.0),
            "block": (2.06, 1.0, 1.0),
        }
