"""Laws of the comparison of engines: frames may differ by a grey level, which is told as a share of the values."""

import pytest
import torch

from benchmark.engine import check_agreement
from commands.errors import UserError


class Constant:
    """Predicts frames of one level; the first value of each is another."""

    def __init__(self, first: int) -> None:
        self.first = first

    def predict(self, frames, _, __):
        predicted = torch.full_like(frames[..., :2, :2], 100)
        predicted[:, 0, 0, 0] = self.first
        return predicted


def test_the_share_of_values_that_differ_is_told():
    assert check_agreement([Constant(100), Constant(101)]) == pytest.approx(1 / 12)
    assert check_agreement([Constant(100), Constant(100)]) == 0


def test_engines_that_are_further_apart_are_refused():
    with pytest.raises(UserError, match="2 grey levels apart"):
        check_agreement([Constant(100), Constant(102)])
