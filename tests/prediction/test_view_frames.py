"""Laws of frames of every view: the truth is the frame so many seconds later, training pairs stay apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from commands.errors import UserError
from formats.pictures import read_picture
from formats.predictions_folder import resume_records
from formats.prepared_episodes import Motion, PreparedEpisode, finish_folder, measure_statistics, write_episode
from formats.prepared_folder import read_manifest
from ldm.models.joint.prediction import JointPrediction
from metrics.compute_metrics import main as compute_metrics
from prediction import view_frames
from prediction.trained_run import TrainedRun
from prediction.view_frames import ViewRequest, predict_views, spread
from tests.ldm.models.joint.conftest import CAMERAS, D, make_joint  # noqa: F401 - fixture

LENGTH, RATE = 9, 10.0


@pytest.fixture
def episodes(tmp_path):
    """A training and a test episode at 10 Hz, of grey value 20 t; the second has no right wrist."""
    listed, motions = [], []
    for number, split in enumerate(("train", "test")):
        cameras = tuple(CAMERAS)[: 3 - number]
        episode = PreparedEpisode(f"push/{number}", "push", number, split, LENGTH, cameras, ("push",), (), RATE)
        states = np.zeros((LENGTH, D), np.float32)
        motion = Motion(states, states)
        frames = {c: [np.full((CAMERAS[c], CAMERAS[c], 3), 20 * t, np.uint8) for t in range(LENGTH)] for c in cameras}
        write_episode(tmp_path / "episodes" / episode.episode_id, episode, frames, motion)
        listed.append(episode)
        motions.append(motion)
    finish_folder(tmp_path / "episodes", listed, measure_statistics(motions[:1], 4, relative=True), {})
    return tmp_path / "episodes"


@pytest.fixture
def run(make_joint):  # noqa: F811 - fixture
    return TrainedRun(make_joint(), {}, "0" * 64)


def test_each_view_gets_pairs_and_predictions_that_can_be_measured(tmp_path, episodes, run, capsys):
    output = tmp_path / "views"
    request = ViewRequest(tmp_path / "run", episodes, output, seconds=(0.2, 0.4), every=2)
    assert predict_views(run, request) == {"head": 4 + 3, "left": 4 + 3}, "the last windows have no frame so far ahead"
    for camera in ("head", "left"):
        pairs = read_manifest(output / camera / "pairs", "test")
        assert [pair.pair_id for pair in pairs][:2] == ["push/1/0-2", "push/1/0-4"]
        assert all(pair.task == "push" and pair.episode == 1 for pair in pairs)
        for pair in pairs:
            shown = [read_picture(path).pixels[0, 0, 0] for path in pair.paths(output / camera / "pairs")]
            assert shown == [20 * pair.source_index, 20 * pair.target_index]
        assert {pair.episode for pair in read_manifest(output / camera / "pairs", "train")} == {0}
        assert len(resume_records(output / camera / "joint", {"mode": "video"})) == 7
    assert len(read_manifest(output / "right/pairs", "train")) == 7, "a view that no test episode has is not predicted"
    arguments = ["--data", str(output / "head/pairs"), "--split", "test", "--train-data", str(output / "head/pairs")]
    arguments += ["--predictions", str(output / "head/joint"), "--no-cache", "--workers", "1"]
    assert compute_metrics(arguments) == 0
    assert "copy the input" in capsys.readouterr().out


def test_frames_are_asked_together_only_of_a_model_that_was_trained_on_several(tmp_path, episodes, run, monkeypatch):
    asked = []

    def predict(model, batch, mode, seeds):
        asked.append(batch["seconds"].shape[1])
        frames = {c: torch.zeros(len(seeds), asked[-1], 3, side, side) for c, side in CAMERAS.items()}
        return JointPrediction(frames, None)

    monkeypatch.setattr(view_frames, "predict", predict)
    for future in ([[0.1, 0.4]], [0.2, 0.4]):
        run.model.video = replace(run.model.video, seconds=future)
        output = tmp_path / f"views{len(future)}"
        predict_views(run, ViewRequest(tmp_path, episodes, output, seconds=(0.2, 0.4), limit=1))
    assert asked == [1, 1, 2]


def test_windows_are_spread_evenly_and_bad_requests_refused(tmp_path, episodes, run):
    assert spread(10, 3) == [0, 3, 6] and spread(2, 3) == spread(2, None) == [0, 1]
    with pytest.raises(UserError, match="rising times above 0"):
        ViewRequest(tmp_path, episodes, tmp_path / "out", seconds=(4.0, 2.0))
    with pytest.raises(UserError, match="no window of .* has a frame 3 s ahead"):
        predict_views(run, ViewRequest(tmp_path, episodes, tmp_path / "out", seconds=(3.0,)))
    assert not (tmp_path / "out").exists()
