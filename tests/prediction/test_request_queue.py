"""Laws of the queue: batches by options, drops what nobody waits for, fails one by one."""

import threading

import pytest
import torch

from prediction.predictor import FramePredictor, SamplingOptions
from prediction.request_queue import Abandoned, PredictionQueue

OPTIONS = SamplingOptions(steps=3, text_scale=1.0, image_scale=1.0)
OTHER = SamplingOptions(steps=2, text_scale=1.0, image_scale=1.0)
FRAME = torch.zeros(3, 4, 4, dtype=torch.uint8)


class FakePredictor:
    """Adds the seed to the frame; waits for `gate` before every step."""

    def __init__(self):
        self.batches = []
        self.steps_taken = 0
        self.gate = threading.Event()
        self.begun = threading.Event()

    predict_views = FramePredictor.predict_views

    def sampler_of(self, options):
        if options.steps > 1000:
            raise ValueError("too many steps")

    def predict(self, frames, instructions, seeds, *, options, progress):
        self.batches.append(list(seeds))
        self.begun.set()
        for _ in progress(range(options.steps)):
            self.gate.wait(5)
            self.steps_taken += 1
        if "break" in instructions:
            raise RuntimeError("broken")
        return frames + torch.tensor(seeds, dtype=torch.uint8)[:, None, None, None]


@pytest.fixture
def queue():
    queue = PredictionQueue(FakePredictor(), max_batch=3)
    yield queue
    queue.predictor.gate.set()
    queue.close()


def submit_behind_a_running_one(queue, requests):
    """Tickets of requests that all waited while another was in work."""
    first = queue.submit(FRAME, "go", 0, OPTIONS)
    assert queue.predictor.begun.wait(5)
    tickets = [queue.submit(FRAME, "go", seed, options) for seed, options in requests]
    return first, tickets


def test_equal_requests_share_a_batch_and_get_their_own_result(queue):
    requests = [(1, OPTIONS), (2, OTHER), (3, OPTIONS), (4, OPTIONS), (5, OPTIONS)]
    first, tickets = submit_behind_a_running_one(queue, requests)
    queue.predictor.gate.set()
    assert [int(ticket.result()[0, 0, 0]) for ticket in [first, *tickets]] == [0, 1, 2, 3, 4, 5]
    assert queue.predictor.batches == [[0], [1, 3, 4], [2], [5]], "at most three, oldest first"
    assert tickets[0].step == 3


def test_a_cancelled_request_is_never_predicted(queue):
    first, (kept, dropped) = submit_behind_a_running_one(queue, [(1, OPTIONS), (2, OPTIONS)])
    dropped.cancel()
    queue.predictor.gate.set()
    assert int(kept.result()[0, 0, 0]) == 1
    with pytest.raises(Abandoned):
        dropped.result()
    assert queue.predictor.batches == [[0], [1]]


def test_work_that_nobody_waits_for_stops_at_the_next_step(queue):
    first, _ = submit_behind_a_running_one(queue, [])
    first.cancel()
    queue.predictor.gate.set()
    with pytest.raises(Abandoned):
        first.result()
    assert queue.predictor.steps_taken == 1


def test_a_failure_reaches_its_requester_and_the_queue_lives_on(queue):
    queue.predictor.gate.set()
    with pytest.raises(RuntimeError, match="broken"):
        queue.submit(FRAME, "break", 0, OPTIONS).result()
    assert int(queue.submit(FRAME, "go", 7, OPTIONS).result()[0, 0, 0]) == 7


def test_impossible_requests_are_refused_before_they_queue(queue):
    with pytest.raises(ValueError, match="too many"):
        queue.submit(FRAME, "go", 0, SamplingOptions(steps=2000, text_scale=1.0, image_scale=1.0))


def test_a_closed_queue_takes_nothing():
    queue = PredictionQueue(FakePredictor(), max_batch=3)
    queue.close()
    with pytest.raises(Abandoned):
        queue.submit(FRAME, "go", 0, OPTIONS)
