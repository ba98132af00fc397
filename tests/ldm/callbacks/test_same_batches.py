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


def test_what_makes_no_difference_goes_on_without_a_word(caplog):
    """The same devices, a test in any batches, a checkpoint that does not say: the stream's own is left to it."""
    resume(trainer(2, 4, 8), trainer(2, 4, 8))
    resume(trainer(1, 4), trainer(1, 3, seed=5, fn="test"))
    SameBatches().on_load_checkpoint(trainer(1, 4), None, {})
    assert not caplog.text


BATCHES = "Resume with the same batch size and devices"
ORDER = "Resume with the same seed and the same prepared folder"


@pytest.mark.parametrize(
    ("now", "wanted", "said"),
    [
        (trainer(2, 4), BATCHES, "data.params.batch_size=2 --accumulate_grad_batches 1"),
        (trainer(1, 2), BATCHES, "data.params.batch_size=4"),
        (trainer(1, 2, 2), BATCHES, "data.params.batch_size=4"),  # as many samples, but micro-batches are counted
        (trainer(3, 4), BATCHES, "as many processes as it had, 1"),
        (trainer(1, 4, seed=5), ORDER, "would go on with seed 5 and 2 training pairs"),
        (trainer(1, 4, pairs=("a", "b", "c")), ORDER, "would go on with seed 3 and 3 training pairs"),
        (trainer(1, 4, pairs=("a", "c")), ORDER, "would go on with seed 3 and 2 training pairs"),
    ],
)
def test_other_samples_or_another_order_are_refused_with_the_mend(now, wanted, said):
    with pytest.raises(UserError, match=wanted) as error:
        resume(trainer(1, 4), now)
    assert said in str(error.value) and "pretrained.path=<checkpoint>" in str(error.value)


def test_other_devices_go_on_if_each_step_sees_the_same_samples(caplog):
    resume(trainer(1, 4), trainer(2, 2))
    assert (
        "saved with 1 process(es) x batch size 4 x 1 accumulated = 4 samples a step and goes on with 2" in caplog.text
    )
