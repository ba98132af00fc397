"""Requests of several users, predicted in common batches by one thread.

A request whose owner left is dropped; a batch that nobody waits for any more stops at its next step.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prediction.predictor import FramePredictor, SamplingOptions

log = logging.getLogger(__name__)


class Abandoned(Exception):
    """Nobody waits for the result."""


@dataclass(eq=False)
class Ticket:
    """One request with its progress and its result."""

    frame: Tensor  # (3, H, W) uint8
    instruction: str
    seed: int
    options: SamplingOptions
    seconds: float | None = None  # ahead, for a model that takes the time as an input
    step: int = 0  # network calls made
    cancelled: bool = False
    views: dict[str, Tensor] = field(default_factory=dict)  # once it is done: other cameras' predictions
    _done: threading.Event = field(default_factory=threading.Event)
    _result: Tensor | None = None
    _error: BaseException | None = None

    def cancel(self) -> None:
        """Cancel the request: nobody waits for it any more."""
        self.cancelled = True

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is done, at the latest after so many seconds."""
        return self._done.wait(seconds)

    def result(self) -> Tensor:
        """(3, H, W) uint8 prediction; waits for it.

        Raises:
            Abandoned: if it was cancelled before it was predicted.
            Exception: what predicting raised.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def _finish(self, result: Tensor | None = None, error: BaseException | None = None) -> None:
        self._result, self._error = result, error
        self._done.set()


class PredictionQueue:
    """Hands requests to a predictor, those with equal options and sizes together, in order of arrival.

    Args:
        predictor: used by this queue's thread alone.
        max_batch: frames predicted at once.
    """

    def __init__(self, predictor: FramePredictor, max_batch: int) -> None:
        self.predictor = predictor
        self.max_batch = max_batch
        self._waiting: list[Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="predictions", daemon=True)
        self._thread.start()

    def submit(
        self, frame: Tensor, instruction: str, seed: int, options: SamplingOptions, seconds: float | None = None
    ) -> Ticket:
        """Queue one request.

        Raises:
            UserError: if the step count is impossible; the batch must not fail for it.
        """
        self.predictor.sampler_of(options)
        ticket = Ticket(frame, instruction, seed, options, seconds)
        with self._changed:
            if self._closed:
                raise Abandoned
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def close(self) -> None:
        """Drop what waits, stop after the batch in work."""
        with self._changed:
            self._closed = True
            for ticket in self._waiting:
                ticket.cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            try:
                predicted, others = self._predict(batch)
                for row, ticket in enumerate(batch):
                    ticket.views = {camera: drawn[row].cpu() for camera, drawn in others.items()}
                    ticket._finish(predicted[row].cpu())
            except BaseException as error:
                if not isinstance(error, Abandoned):
                    log.warning("a batch of %d requests failed: %s", len(batch), error)
                for ticket in batch:
                    ticket._finish(error=error)

    def _next_batch(self) -> list[Ticket]:
        """The oldest request and those that fit it; empty when closed."""
        with self._changed:
            while True:
                for ticket in [ticket for ticket in self._waiting if ticket.cancelled]:
                    self._waiting.remove(ticket)
                    ticket._finish(error=Abandoned())
                if self._waiting or self._closed:
                    break
                self._changed.wait()
            if not self._waiting:
                return []
            first = self._waiting[0]
            fitting = [
                ticket
                for ticket in self._waiting
                if ticket.options == first.options and ticket.frame.shape == first.frame.shape
            ]
            batch = fitting[: self.max_batch]
            self._waiting = [ticket for ticket in self._waiting if ticket not in batch]
            return batch

    def _predict(self, batch: list[Ticket]) -> tuple[Tensor, dict[str, Tensor]]:
        def watch(steps: Iterable) -> Iterator:
            for number, step in enumerate(steps):
                if all(ticket.cancelled for ticket in batch):
                    raise Abandoned
                yield step
                for ticket in batch:
                    ticket.step = number + 1

        timed = {} if batch[0].seconds is None else {"seconds": [ticket.seconds for ticket in batch]}
        return self.predictor.predict_views(
            torch.stack([ticket.frame for ticket in batch]),
            [ticket.instruction for ticket in batch],
            [ticket.seed for ticket in batch],
            options=batch[0].options,
            progress=watch,
            **timed,
        )
