"""The one door to MuJoCo."""

import pytest

from simulator import engine


def test_a_failing_renderer_is_renamed(monkeypatch):
    """Whatever the backend raises, the caller sees RendererUnavailable with the packages."""

    def fail(model, height, width):
        raise AttributeError("no glGetError")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(engine.mujoco, "Renderer", fail)
    with pytest.raises(engine.RendererUnavailable, match="no glGetError.*libegl1"):
        engine.require_renderer()


def test_a_disabled_renderer_is_refused(monkeypatch):
    """Where no library was found MuJoCo is not even asked."""
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(engine.RendererUnavailable, match="libEGL.so.1"):
        engine.require_renderer()
