"""Laws of last.ckpt; whole runs, signals and exact resume are tested in tests/test_main.py."""

import signal

import pytest
import torch

from ldm.callbacks.checkpointing import AtomicCheckpointIO, LastCheckpoint, RunInterruptedError


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def broken(value, file):
        file.write_bytes(b"half")
        raise OSError("the disk broke")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="the disk broke"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


class FakeTrainer:
    """As much of a trainer as the callback touches."""

    world_size = 1
    datamodule = None
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
    callback, trainer = LastCheckpoint(tmp_path, every_n_steps=3), FakeTrainer()
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


def test_usr1_saves_and_goes_on(training):
    callback, trainer = training
    signal.raise_signal(signal.SIGUSR1)
    step(callback, trainer)
    step(callback, trainer)
    assert trainer.saved == [1]


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
    before = signal.getsignal(signal.SIGTERM)
    callback, trainer = LastCheckpoint(tmp_path, 3), FakeTrainer()
    callback.on_train_start(trainer, None)
    assert signal.getsignal(signal.SIGTERM) != before
    callback.teardown(trainer, None, "fit")
    assert signal.getsignal(signal.SIGTERM) == before
