"""Law of the expert's future: it follows the progress of whoever acts, and never goes back."""

import numpy as np
import pytest

from commands.errors import UserError
from simulator import baselines
from simulator.baselines import ExpertFuture
from simulator.recorder import Trajectory


def test_the_experts_future_follows_progress_and_never_goes_back(monkeypatch):
    joints = np.repeat(np.arange(20.0)[:, None], 14, axis=1)
    expert = Trajectory("", True, joints, joints, joints, joints, {}, np.zeros((20, 2, 7)))

    class Drawer:
        def __init__(self, model) -> None: ...

        def arrange(self, qpos) -> None:
            self.shown = qpos[0]

        def draw(self, camera) -> float:
            return self.shown

        def close(self) -> None: ...

    monkeypatch.setattr(baselines, "simulate", lambda *_, **__: expert)
    monkeypatch.setattr(baselines, "load_model", lambda _: None)
    monkeypatch.setattr(baselines, "Studio", Drawer)
    future = ExpertFuture(seconds=0.3)  # five frames
    for _ in range(2):
        future.reset("", "block_handover", 0)
        shown = [future.picture({"agent_pos": np.full(14, moment)}) for moment in (0.2, 7.4, 3.0, 18.0)]
        assert shown == [5, 12, 12, 19]
    with pytest.raises(UserError, match="more than 0"):
        ExpertFuture(seconds=0.0)
