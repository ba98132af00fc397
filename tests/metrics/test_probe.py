"""Laws of the probe: it finds what stands where, goes on as if never stopped, measures only what it has not learned."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from formats.positions import write_positions
from formats.prepared_episodes import Motion, PreparedEpisode, finish_folder, write_episode
from formats.prepared_folder import read_manifest
from metrics import compute_metrics, probe
from metrics.comparison.compare import compare
from metrics.compute_metrics import BUNDLED_PROBE, read_request
from metrics.measures.probe_network import has_number, load_probe, write_numbers
from tests.metrics.conftest import TASKS, moving_square

LENGTH, SIDE = 10, 16


def place(step: int) -> list[float]:
    """Metres: a centimetre a pixel."""
    return [0.01 * step, 0.2, 0.8]


@pytest.fixture
def episodes(tmp_path):
    """Prepared episodes 10 to 12 of both tasks, whose square stands at `place` of its frame; grippers rest."""

    def write(name="episodes", endposes=True):
        listed = []
        for task in TASKS:
            for number, split in ((10, "train"), (11, "train"), (12, "val")):
                episode = PreparedEpisode(
                    f"{task}/{number}", task, number, split, LENGTH, ("head_camera",), ("go",), objects=("block",)
                )
                poses = np.array([[[*place(t), 1, 0, 0, 0]] for t in range(LENGTH)])
                tools = np.tile(np.array([0.3, 0.1, 0.9, 1, 0, 0, 0]), (LENGTH, 2, 1))
                motion = Motion(objects=poses, endposes=tools) if endposes else Motion()
                frames = {"head_camera": [moving_square(t, SIDE) for t in range(LENGTH)]}
                write_episode(tmp_path / name / episode.episode_id, episode, frames, motion)
                listed.append(episode)
        finish_folder(tmp_path / name, listed, None, {})
        return tmp_path / name

    return write


def train(folder, output, *more) -> int:
    return probe.main(["--train", str(folder), "--output", str(output), "--batch", "8", *more])


@pytest.fixture
def trained(episodes, tmp_path):
    """A probe of a few steps."""
    assert train(episodes(), tmp_path / "probe.safetensors", "--steps", "40") == 0
    return tmp_path / "probe.safetensors"


@pytest.fixture
def measured(pair_folder):
    """Pairs of episodes 0 to 2, from column episode to + 7, that know where the square is."""
    folder = pair_folder()
    tools = {side: [0.3, 0.1, 0.9] for side in ("left_gripper", "right_gripper")}
    targets = {pair.pair_id: {**tools, "block": place(pair.episode % 3 + 7)} for pair in read_manifest(folder)}
    write_positions(folder, targets)
    return folder


def test_the_truth_is_nearer_than_a_copy_and_the_table_says_so_in_centimetres(trained, measured):
    request, _ = read_request(["--data", str(measured), "--probe", str(trained), "--no-cache"])
    table = compare(request).table
    truth, copied = (row.estimates for row in table.rows if row.group == "mean")
    assert truth["block_error_cm"].mean < 1.5 < 4.0 < copied["block_error_cm"].mean
    assert truth["block_error_cm"].mean <= truth["block_error_cm_p90"].mean
    assert copied["block_error_cm"].low <= copied["block_error_cm"].mean <= copied["block_error_cm"].high
    assert copied["gripper_error_cm"].mean < 1.0 and truth["sharpness"].mean == 1.0
    assert not [row for row in table.rows if table.is_best(row, "sharpness")]
    floor = load_probe(trained)[1].floor_cm
    assert floor["block"][0] < 1.5 and floor.keys() == {"left_gripper", "right_gripper", "block"}


def test_a_stopped_training_goes_on_to_the_same_weights(episodes, tmp_path, monkeypatch, capsys):
    folder, whole, stopped = episodes(), tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    monkeypatch.setattr(probe, "SAVE_EVERY", 2)
    assert train(folder, whole, "--steps", "4") == 0
    advance = probe.Training.advance

    def stop(training):
        if training.step == 3:
            raise KeyboardInterrupt
        return advance(training)

    monkeypatch.setattr(probe.Training, "advance", stop)
    assert train(folder, stopped, "--steps", "4") == 130
    monkeypatch.setattr(probe.Training, "advance", advance)
    assert train(folder, stopped, "--steps", "4", "--seed", "1") == 2 and "other options" in capsys.readouterr().err
    assert train(folder, stopped, "--steps", "4") == 0
    assert whole.read_bytes() == stopped.read_bytes() and not list(tmp_path.glob("*.training.*"))


def test_a_probe_measures_only_what_it_has_not_learned(trained, measured, episodes, tmp_path, capsys):
    """Not its own episodes, not pairs without positions; and it was made from true frames."""

    def refused(*arguments) -> str:
        assert compute_metrics.main([str(argument) for argument in ("--no-cache", *arguments)]) == 2
        return " ".join(capsys.readouterr().err.split())

    with safe_open(trained, "pt") as file:
        facts, tensors = json.loads(file.metadata()["probe"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    origin = facts["origin"]
    assert origin["episodes"] == dict.fromkeys(sorted(TASKS), "10-11") and origin["split"] == "train"
    for change, sentence in (
        ({"learned_from": "predictions"}, "learned from predictions"),
        ({"split": "test"}, "learned from true frames of split 'test'"),
        ({"episodes": {TASKS[0]: "1,5-9"}}, f"learned from 1 of the 6 episodes to be measured, such as {TASKS[0]} 1"),
    ):
        other = tmp_path / "other.safetensors"
        save_file(tensors, other, {"probe": json.dumps(facts | {"origin": origin | change})})
        assert sentence in refused("--data", measured, "--probe", other)
    save_file({"a": torch.zeros(1)}, other)
    assert "is no position probe" in refused("--data", measured, "--probe", other)
    (measured / "positions.jsonl").unlink()
    assert "has no positions.jsonl: prepare it again" in refused("--data", measured, "--probe", trained)
    assert train(episodes("blind", endposes=False), other) == 2 and "does not say where" in capsys.readouterr().err


def test_the_bundled_probe_is_small_sees_within_seven_millimetres_and_knows_no_test_episode():
    bundled, origin = load_probe(BUNDLED_PROBE)
    assert BUNDLED_PROBE.stat().st_size <= 2 * 2**20 and bundled.shape.size == 128
    assert all(median <= 0.7 for median, _ in origin.floor_cm.values())
    assert not any(has_number(text, number) for text in origin.episodes.values() for number in (*range(24), 1000, 1001))


def test_numbers_are_kept_as_runs():
    text = write_numbers([7, 0, 2, 1, 9])
    assert text == "0-2,7,9" and [n for n in range(11) if has_number(text, n)] == [0, 1, 2, 7, 9]
    assert not has_number("", 0)


def test_light_changes_and_nothing_moves():
    """Where things are is what is to be learned: no frame is shifted, and chance comes from the generator."""
    frames = torch.from_numpy(np.stack([moving_square(t) for t in range(8)])).permute(0, 3, 1, 2) / 127.5 - 1
    varied = probe.vary_light(frames, np.random.default_rng(0))
    assert torch.equal(varied, probe.vary_light(frames, np.random.default_rng(0))) and varied.shape == frames.shape
    assert not torch.equal(varied, frames) and varied.abs().max() <= 1
    redness = varied[:, 0] - varied[:, 1:].mean(dim=1)
    assert (redness.flatten(1).argmax(dim=1) % 16 - torch.arange(8)).sub(2.5).abs().max() <= 2
