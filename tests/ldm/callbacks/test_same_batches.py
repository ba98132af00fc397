"""Laws of what may change at a resume; the runs themselves are in tests/test_resume.py."""

from types import SimpleNamespace

import pytest

from commands.errors import UserError
from ldm.callbacks.same_batches import SameBatches


class Pairs(list):
    """A data set of named pairs."""

    @property
    def pair_ids(self):
        return list(self)


def trainer(processes, batch_size, accumulated=1, seed=3, pairs=("a", "b"), fn="fit"):
    data = SimpleNamespace(batch_size=batch_size, seed=seed, datasets={"train": Pairs(pairs)})
    state = SimpleNamespace(fn=fn)
    return SimpleNamespace(world_size=processes, datamodule=data, accumulate_grad_batches=accumulated, state=state)


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
    with pytest.raises(UserError, match="Resume with the same batch size and devices") as error:
        resume(trainer(1, 4), now)
    assert mend in str(error.value) and "pretrained.path=<checkpoint>" in str(error.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 5}, "would go on with seed 5 and 2 training pairs"),
        ({"pairs": ("a", "b", "c")}, "would go on with seed 3 and 3 training pairs"),
        ({"pairs": ("a", "c")}, "would go on with seed 3 and 2 training pairs"),
    ],
)
def test_another_order_of_the_samples_is_refused_with_the_mend(changed, said):
    """Another seed, more pairs, as many other pairs."""
    with pytest.raises(UserError, match="Resume with the same seed and the same prepared folder") as error:
        resume(trainer(1, 4), trainer(1, 4, **changed))
    assert said in str(error.value) and "pretrained.path=<checkpoint>" in str(error.value)


def test_a_saved_run_is_tested_in_any_batches():
    resume(trainer(1, 4), trainer(1, 3, seed=5, fn="test"))


def test_a_checkpoint_that_does_not_say_is_left_to_the_stream():
    SameBatches().on_load_checkpoint(trainer(1, 4), None, {})
