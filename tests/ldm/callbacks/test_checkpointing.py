"""Laws of last.ckpt; whole runs, signals and exact resume are tested in tests/test_main.py."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from commands.errors import UserError
from formats.run_folder import RunFolder
from ldm.callbacks.checkpointing import (
    AtomicCheckpointIO,
    EpochCheckpoints,
    LastCheckpoint,
    RunInterruptedError,
    StepBoundary,
)
from ldm.training.fit import build_callbacks


class FakeTrainer:
    """As much of a trainer as the callback touches."""

    world_size = 1
    datamodule = None
    ckpt_path = None
    global_step = 0

    def __init__(self):
        self.saved = []
        self.fit_loop = self

    def state_dict(self):
        return {"step": self.global_step}

    def save_checkpoint(self, path):
        self.saved.append(self.global_step)


@pytest.fixture
def training(tmp_path):
    """The callback in a training that has begun."""
    callback, trainer = LastCheckpoint(tmp_path, every_n_steps=3, boundary=StepBoundary()), FakeTrainer()
    callback.boundary.on_train_start(trainer, None)
    callback.on_train_start(trainer, None)
    yield callback, trainer
    callback.teardown(trainer, None, "fit")


def step(callback, trainer, micro_batches=1):
    for micro_batch in range(micro_batches):
        trainer.global_step += micro_batch == micro_batches - 1
        callback.on_train_batch_end(trainer, None)


def test_saves_every_n_optimiser_steps_however_many_micro_batches(training):
    callback, trainer = training
    for _ in range(7):
        step(callback, trainer, micro_batches=4)
    assert trainer.saved == [3, 6]


def test_usr1_saves_and_goes_on_but_does_not_take_back_a_stop(training):
    callback, trainer = training
    signal.raise_signal(signal.SIGUSR1)
    step(callback, trainer)
    step(callback, trainer)
    assert trainer.saved == [1]
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(RunInterruptedError, match="SIGTERM"):
        step(callback, trainer)


class OtherProcess:
    """A strategy whose other process got the given signal."""

    def __init__(self, number):
        self.votes = [number in (signal.SIGTERM, signal.SIGINT), number is not None]

    def reduce_boolean_decision(self, vote, all):  # noqa: A002
        return vote or self.votes.pop(0)


def vote_after(training, number, *, step_of_vote=10):
    callback, trainer = training
    trainer.world_size, trainer.strategy = 2, OtherProcess(number)
    callback.every_n_steps, callback._step, trainer.global_step = 1000, step_of_vote - 1, step_of_vote - 1
    step(callback, trainer)
    return trainer.saved


def test_usr1_to_one_process_of_two_saves_in_both_and_stops_neither(training):
    """In the one that got no signal; then in the one that did."""
    assert vote_after(training, signal.SIGUSR1) == [10]
    signal.raise_signal(signal.SIGUSR1)
    assert vote_after(training, None, step_of_vote=20) == [10, 20]


def test_term_to_one_process_of_two_stops_both(training):
    with pytest.raises(RunInterruptedError, match="SIGTERM after step 10"):
        vote_after(training, signal.SIGTERM)
    assert training[1].saved == [10]


def test_weights_that_gave_no_finite_loss_do_not_replace_the_last_checkpoint(training, caplog):
    callback, trainer = training
    callback.on_exception(trainer, None, FloatingPointError("the loss is nan"))
    assert trainer.saved == [] and "there is no checkpoint yet" in caplog.text
    callback.on_exception(trainer, None, RuntimeError("another"))
    assert trainer.saved == [0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_ctrl_c_stop_at_the_end_of_the_step(training, number):
    callback, trainer = training
    signal.raise_signal(number)
    with pytest.raises(RunInterruptedError, match=f"{signal.Signals(number).name} after step 1"):
        step(callback, trainer)
    assert trainer.saved == [1]


def test_a_second_ctrl_c_stops_at_once(training):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)  # some earlier run of Lightning may have left its own
    callback, trainer = LastCheckpoint(tmp_path, every_n_steps=3, boundary=StepBoundary()), FakeTrainer()
    callback.boundary.on_train_start(trainer, None)
    callback.on_train_start(trainer, None)
    assert signal.getsignal(signal.SIGTERM) != before
    callback.teardown(trainer, None, "fit")
    assert signal.getsignal(signal.SIGTERM) == before


class Payload:
    """What a hostile file would run while it is unpickled."""

    def __reduce__(self):
        return os.getcwd, ()


def test_a_checkpoint_that_is_none_is_refused_in_one_sentence(tmp_path):
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    torch.save({"state_dict": {}, "x": Payload()}, path)
    with pytest.raises(
        UserError, match=r"last.ckpt is refused: it asks for \w+.getcwd, and a checkpoint may hold"
    ) as said:
        io.load_checkpoint(path)
    assert "\n" not in str(said.value)
    torch.save([1], path)
    with pytest.raises(UserError, match="is no checkpoint of a run of main.py: state_dict is missing"):
        io.load_checkpoint(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="last.ckpt is (damaged|refused)"):
        io.load_checkpoint(path)


def test_a_damaged_last_checkpoint_does_not_take_the_place_of_the_previous_one(training):
    callback, trainer = training
    torch.save({"step": 5}, callback.path.with_name("previous.ckpt"))
    torch.save({"step": 6}, callback.path)  # passed over: the run was resumed from the one before
    trainer.ckpt_path = callback.path.with_name("previous.ckpt")
    trainer.save_checkpoint = lambda path: torch.save({"step": 7}, path)
    callback.on_train_start(trainer, None)
    callback.on_fit_end(trainer, None)
    assert torch.load(callback.path.with_name("previous.ckpt"), weights_only=True) == {"step": 5}
    callback.on_fit_end(trainer, None)
    assert torch.load(callback.path.with_name("previous.ckpt"), weights_only=True) == {"step": 7}


def test_weights_of_the_epochs_that_are_asked_for_are_kept(tmp_path):
    saved = []
    trainer = SimpleNamespace(save_checkpoint=lambda path, weights_only: saved.append((path.name, weights_only)))
    callback = EpochCheckpoints(tmp_path, [2, 4])
    for trainer.current_epoch in range(5):
        callback.on_train_epoch_end(trainer, None)
    assert saved == [("epoch-2.ckpt", True), ("epoch-4.ckpt", True)]
    with pytest.raises(UserError, match="keep_epochs: 0; wanted whole numbers from 1 on"):
        EpochCheckpoints(tmp_path, [0])


def test_a_run_has_one_callback_of_each_kind(tmp_path):
    saving = {"every_n_steps": 1, "keep_epochs": [1], "monitor": "val/loss_simple"}
    kinds = [type(callback) for callback in build_callbacks({"lightning": {"checkpoint": saving}}, RunFolder(tmp_path))]
    assert EpochCheckpoints in kinds and len(kinds) == len(set(kinds))
