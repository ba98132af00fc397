"""Laws of the service behind the page: shows what was asked, refuses in a sentence, stops when nobody looks."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from prediction.predictor import FramePredictor, SamplingOptions
from prediction.request_queue import PredictionQueue
from prediction.service import MAX_HORIZONS, MIN_SHOWN, Examples, PageRequest, PredictionService


class Brighter:
    """Each prediction is one grey level brighter; waits for `gate` before each step."""

    resolution = 8
    options = SamplingOptions(steps=2, text_scale=1.0, image_scale=1.0)
    horizon = 3
    takes_seconds = False
    seconds, seconds_range = 0.4, (0.2, 1.0)
    times = FramePredictor.times
    count_predictions = FramePredictor.count_predictions
    predict_views = FramePredictor.predict_views

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.steps = 0

    def sampler_of(self, options):
        return None

    def predict(self, frames, sentences, seeds, *, options, progress, seconds=None):
        for _ in progress(range(options.steps)):
            self.gate.wait(5)
            self.steps += 1
        ahead = torch.ones(len(frames)) if seconds is None else 100 * torch.tensor(seconds)
        return frames + ahead.round().to(frames.dtype)[:, None, None, None]


@pytest.fixture
def service(pair_folder, tmp_path):
    predictor = Brighter()
    queue = PredictionQueue(predictor, 4)
    examples = Examples.read(pair_folder(length=12, size=8), "test")
    yield PredictionService(SimpleNamespace(predictor=predictor, horizon=3, sentence=str), queue, examples, tmp_path)
    predictor.gate.set()
    queue.close()


@pytest.fixture
def ask(tmp_path):
    Image.new("RGB", (8, 8), (50, 50, 50)).save(tmp_path / "frame.png")

    def make(**changes):
        asked = {
            "picture": str(tmp_path / "frame.png"),
            "sentence": "stack blocks",
            "horizon": 3,
            "steps": 2,
            "sampler": "ddim",
            "text_scale": 1.0,
            "image_scale": 1.0,
            "seed": 0,
            "example": None,
        }
        return PageRequest(**asked | changes)

    return make


def test_prediction_difference_and_status_are_shown(service, ask):
    last = list(service.predict(ask()))[-1]
    assert last["prediction"].shape == (MIN_SHOWN, MIN_SHOWN, 3) and (last["prediction"] == 51).all()
    assert (last["difference"] == 254).all() and last["truth"] is None
    assert "1 predicted" in last["status"] and "peak memory" in last["status"]


def test_a_rollout_is_shown_frame_by_frame(service, ask):
    shown = [update["strip"] for update in service.predict(ask(horizon=9)) if "strip" in update]
    assert [strip.size[0] for strip in shown] == sorted(strip.size[0] for strip in shown) and len(shown) == 3
    assert np.asarray(shown[-1])[-1, -1, 0] == 53


def test_a_model_that_does_not_say_its_horizon_counts_in_its_own(service, ask):
    service.loaded.horizon = None
    narrow, wide = (list(service.predict(ask(horizon=k)))[-1]["strip"].size[0] for k in (1, 2))
    assert narrow < wide
    with pytest.raises(ValueError, match="horizon 9: wanted 1 to 8"):
        list(service.predict(ask(horizon=9)))


def test_the_truth_of_an_example_is_shown_below(service, ask):
    name = next(iter(service.examples.pairs))
    request = ask(picture=str(service.examples.source(name)), example=name, horizon=6)
    last = list(service.predict(request))[-1]
    assert last["truth"] is not None and last["strip"].size[1] > list(service.predict(ask()))[-1]["strip"].size[1]


def test_a_future_drawn_directly_is_drawn_once_and_shown_at_any_time(service, ask):
    """Of a model that takes seconds: in common batches, with the truth of those frames whose truth the data have."""
    service.loaded.predictor.takes_seconds = True
    name = next(iter(service.examples.pairs))
    request = ask(picture=str(service.examples.source(name)), example=name, horizon=1.0)
    (last,) = (update for update in service.predict(request) if "future" in update)
    steps, future = service.loaded.predictor.steps, last["future"]
    assert future.times == (0.2, 0.4, 0.6, 0.8, 1.0) and steps <= 2 * request.steps, "two batches of at most four"
    grey = int(future.source[0, 0, 0])
    assert [int(future.at(time)["prediction"][0, 0, 0]) - grey for time in (0.0, 0.41, 1.0)] == [20, 40, 100]
    assert service.loaded.predictor.steps == steps, "nothing is drawn again"
    pair = service.examples.pairs[name]
    known = [round(time * pair.frames_per_second) >= pair.horizon for time in future.times]
    assert [truth is not None for truth in future.truths] == known
    with pytest.raises(ValueError, match="trained for 0.2 to 1 seconds"):
        list(service.predict(ask(horizon=2.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"picture": None}, "no picture"),
        ({"sentence": " "}, "instruction is empty"),
        ({"sentence": None}, "instruction is empty"),
        ({"sentence": "a" * 20_000}, "at most 10000"),
        ({"steps": 0}, "steps: wanted 1 to"),
        ({"steps": 2000}, "steps: wanted 1 to"),
        ({"seed": None}, "wanted a number"),
        ({"horizon": 3 * (MAX_HORIZONS + 1)}, f"horizon 27: wanted 3 to {3 * MAX_HORIZONS}"),
        ({"horizon": 4}, "predicts 3 frames ahead"),
        ({"horizon": None}, "wanted a number"),
        ({"steps": float("nan")}, "steps nan: wanted a number"),
        ({"seed": 10**400}, "wanted a number"),
        ({"sentence": {"path": "x"}}, "sentence: wanted text"),
        ({"picture": "/etc/hostname"}, "not uploaded to this page"),
        ({"picture": "frame.png\0"}, "not uploaded to this page"),
        ({"text_scale": -1.0}, "outside"),
        ({"sampler": "heun"}, "not one of"),
    ],
)
def test_each_bad_request_gets_one_sentence(service, ask, changes, message):
    with pytest.raises(ValueError, match=message):
        list(service.predict(ask(**changes)))
    assert service.loaded.predictor.steps == 0


def test_a_long_instruction_of_another_language_is_taken(service, ask):
    assert list(service.predict(ask(sentence="积木 叠起来 " * 1000)))


def test_work_stops_when_its_owner_leaves(service, ask):
    service.loaded.predictor.gate.clear()
    answer = service.predict(ask(steps=50))
    assert "step 0 of 50" in next(answer)["status"]
    answer.close()
    service.loaded.predictor.gate.set()
    service.close()
    assert service.loaded.predictor.steps <= 1 and not service.uploads.exists()


def test_one_upload_is_decoded_at_a_time_and_none_is_kept(service, ask, monkeypatch):
    """Twelve of a hundred megapixels must not take twelve times the memory of one."""
    import prediction.service

    alive, most = [0], [0]

    class Tracked:
        notes = ()

        def __init__(self, content, name):
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def squared(self, side):
            return np.zeros((side, side, 3), np.uint8)

        def __del__(self):
            alive[0] -= 1

    monkeypatch.setattr(prediction.service, "open_picture", Tracked)
    monkeypatch.setattr(service, "examples", None)
    threads = [threading.Thread(target=lambda: list(service.predict(ask()))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (alive[0], most[0]) == (0, 1)


def left_edge_of_red(path):
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return int(np.argmax((pixels == (255, 0, 0)).all(axis=2).any(axis=0)))


def test_truths_are_the_frames_so_many_horizons_later(pair_folder):
    """Read from the pixels: the square is at column 0 in frame 0; the episode ends before three horizons."""
    examples = Examples.read(pair_folder(length=10, horizon=3), "test")
    name = next(name for name in examples.pairs if name.endswith("/0-3"))
    assert left_edge_of_red(examples.source(name)) == 0
    assert [left_edge_of_red(path) for path in examples.truths(name, 4, None)] == [3, 6, 9]
    assert [left_edge_of_red(path) for path in examples.truths(name, 4, 3)] == [3, 6, 9]
    assert [left_edge_of_red(path) for path in examples.truths(name, 2, 4)] == [4, 8], "as far ahead as the model looks"
    assert examples.truths(name, 3, 2) == [], "no pair ends at frame 2, though one does at frame 4"
    assert examples.truths(None, 2, 3) == [], "a visitor's own picture has none"


def test_few_are_chosen_from_the_whole(pair_folder):
    examples = Examples.read(pair_folder(num_episodes=8), "all")
    chosen = examples.choose(4)
    assert [name.split("/")[1] for name in chosen] == ["0", "2", "4", "6"]
    assert examples.choose(1000) == list(examples.pairs)
    assert examples.instructions() == ["move the square"]
