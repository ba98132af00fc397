"""Laws of what may change at a resume; the runs themselves are in tests/test_resume.py."""

from types import SimpleNamespace

import pytest

from ldm.callbacks.same_batches import SameBatches
from ldm.util import ConfigError


def trainer(processes, batch_size, accumulated=1):
    data = SimpleNamespace(batch_size=batch_size)
    return SimpleNamespace(world_size=processes, datamodule=data, accumulate_grad_batches=accumulated)


def resume(saved, now):
    checkpoint = {}
    SameBatches().on_save_checkpoint(saved, None, checkpoint)
    SameBatches().on_load_checkpoint(now, None, checkpoint)


def test_the_same_devices_go_on_without_a_word(caplog):
    resume(trainer(2, 4, 8), trainer(2, 4, 8))
    assert not caplog.text


def test_other_devices_go_on_if_each_step_sees_the_same_samples(caplog):
    resume(trainer(1, 4), trainer(2, 2))
    assert (
        "saved with 1 process(es) x batch size 4 x 1 accumulated = 4 samples a step and goes on with 2" in caplog.text
    )


@pytest.mark.parametrize(
    ("now", "mend"),
    [
        (trainer(2, 4), "data.params.batch_size=2 --accumulate_grad_batches 1"),
        (trainer(1, 2), "data.params.batch_size=4"),
        (trainer(1, 2, 2), "data.params.batch_size=4"),  # as many samples a step, but the stream counts micro-batches
        (trainer(3, 4), "as many processes as it had, 1"),
    ],
)
def test_other_steps_are_refused_with_the_mend(now, mend):
    with pytest.raises(ConfigError, match="Resume with the same batch size and devices") as error:
        resume(trainer(1, 4), now)
    assert mend in str(error.value) and "pretrained.path=<checkpoint>" in str(error.value)


def test_a_checkpoint_that_does_not_say_is_left_to_the_stream():
    SameBatches().on_load_checkpoint(trainer(1, 4), None, {})
