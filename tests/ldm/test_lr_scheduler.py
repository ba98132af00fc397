"""Laws of the learning-rate factors."""

import pytest

from ldm.lr_scheduler import LambdaLinearScheduler


def test_warm_up_rises_linearly_then_falls_to_f_min():
    scheduler = LambdaLinearScheduler([10], [0.1], [1.0], [0.0], [110])
    assert [scheduler.schedule(n) for n in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert scheduler.schedule(60) == pytest.approx(0.55)
    assert scheduler.schedule(110) == scheduler.schedule(10_000) == 0.1


def test_no_warm_up_and_endless_cycle_is_constant():
    """InstructPix2Pix's own setting."""
    scheduler = LambdaLinearScheduler([0], [1.0], [1.0], [1e-6], [1e13])
    assert {scheduler.schedule(n) for n in (0, 1, 10**6)} == {1.0}


def test_cycles_follow_each_other():
    scheduler = LambdaLinearScheduler([0, 0], [0.5, 0.0], [1.0, 0.2], [0, 0], [10, 10])
    assert scheduler.schedule(9) == pytest.approx(0.55)
    assert scheduler.schedule(10) == pytest.approx(0.2)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="one value a cycle"):
        LambdaLinearScheduler([0], [1.0, 1.0], [1.0], [0], [10])
