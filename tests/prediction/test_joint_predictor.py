"""Laws of predicting frames with a model of video and action: one picture in, every camera's future out."""

import numpy as np
import pytest
import torch
from PIL import Image

from commands.errors import UserError
from edit_cli import main as edit_cli
from formats.pictures import read_picture
from ldm.training.config import save_config
from prediction.joint_predictor import JointPredictor
from prediction.load import load_predictor
from prediction.model_request import ModelRequest
from prediction.request_queue import PredictionQueue
from prediction.service import DrawnFuture
from tests.ldm.models.joint.conftest import CAMERAS, make_joint  # noqa: F401 - fixture


@pytest.fixture
def predictor(make_joint):  # noqa: F811 - fixture
    return JointPredictor(make_joint(), {})


@pytest.fixture
def ask():
    """One grey frame, one sentence, one seed."""
    return torch.full((1, 3, 32, 32), 90, dtype=torch.uint8), ["stack blocks"], [3]


def test_every_view_is_predicted_from_one_and_the_time_matters(predictor, ask):
    main, others = predictor.predict_views(*ask, seconds=[2.0])
    assert predictor.resolution == 32 and main.shape == (1, 3, 32, 32) and main.dtype == torch.uint8
    assert {camera: view.shape[-1] for camera, view in others.items()} == {"left": 16, "right": 16}
    assert torch.equal(predictor.predict(*ask, seconds=[2.0]), main)
    assert not torch.equal(predictor.predict(*ask, seconds=[4.0]), main)
    assert torch.equal(predictor.predict(*ask), predictor.predict(*ask, seconds=[4.0])), "as far as it was trained"
    assert predictor.rollout(*ask, 2).shape == (2, 1, 3, 32, 32)


def test_a_prediction_does_not_depend_on_its_batch(predictor):
    frames = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    together = predictor.predict(frames, ["a", "b", "c"], [1, 2, 3], seconds=[1.0, 2.0, 4.0])
    alone = predictor.predict(frames[1:2], ["b"], [2], seconds=[2.0])
    assert (together[1].int() - alone[0].int()).abs().max() <= 1


def test_what_it_cannot_do_is_one_sentence(predictor, make_joint, ask):  # noqa: F811 - fixture
    for call, says in (
        (lambda: predictor.predict(*ask, seconds=[9.0]), "trained for 1 to 4 seconds"),
        (lambda: predictor.predict(*ask, horizon=20), "counts in seconds"),
        (predictor.check_samples, "--samples"),
        (lambda: JointPredictor(make_joint(), {"image_scale": 1.5}), "--cfg-image 1.5"),
        (lambda: predictor.predict(ask[0], [" "], [0]), "instruction 0 is empty"),
    ):
        with pytest.raises(UserError, match=says):
            call()


def test_the_page_gets_all_views(predictor, ask):
    queue = PredictionQueue(predictor, 4)
    tickets = [queue.submit(ask[0][0], ask[1][0], 3, predictor.options, time) for time in (1.0, 4.0)]
    drawn = [ticket.result() for ticket in tickets]
    queue.close()
    assert torch.equal(drawn[1], predictor.predict(*ask)[0]) and tickets[0].views.keys() == {"left", "right"}
    source = np.zeros((32, 32, 3), np.uint8)
    plain = DrawnFuture(source, (source, source), (1.0, 4.0), "seconds", (None, None)).strip()
    views = {"left": (source[:16, :16],) * 2}
    with_views = DrawnFuture(source, (source, source), (1.0, 4.0), "seconds", (None, None), views).strip()
    assert with_views.height > plain.height and with_views.width == plain.width


def test_a_run_is_found_by_its_kind_and_pictures_of_all_views_are_written(tmp_path, make_joint, monkeypatch, capsys):  # noqa: F811 - fixture
    model = make_joint()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "run/checkpoints/last.ckpt")
    node = {"target": "ldm.models.joint.video_action.JointVideoAction", "params": {}}
    save_config({"model": node}, tmp_path / "run/config.yaml")
    monkeypatch.setattr("prediction.trained_run.instantiate_from_config", lambda *_: make_joint(statistics=False))
    loaded = load_predictor(ModelRequest.of({"ckpt": tmp_path / "run"}))
    assert isinstance(loaded.predictor, JointPredictor) and len(loaded.settings()["checkpoint_sha256"]) == 64
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "now.png")
    arguments = ["--input", str(tmp_path / "now.png"), "--edit", "stack blocks", "--ckpt", str(tmp_path / "run")]
    assert edit_cli([*arguments, "--output", str(tmp_path / "future.png")]) == 0
    assert read_picture(tmp_path / "future.png").pixels.shape == (48, 64, 3)
    for camera in ("left", "right"):
        assert read_picture(tmp_path / f"future_{camera}.png").pixels.shape[0] == CAMERAS[camera]
    assert edit_cli([*arguments, "--seconds", "1", "4", "--output", str(tmp_path / "strip.png")]) == 0
    assert (tmp_path / "strip" / "002_right.png").is_file()
    assert edit_cli([*arguments, "--resolution", "64", "--output", str(tmp_path / "other.png")]) == 2
    assert "--resolution: a model of video and action" in capsys.readouterr().err
