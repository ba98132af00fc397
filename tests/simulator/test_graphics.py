"""Which OpenGL is chosen, and the one door to MuJoCo's renderer."""

import pytest

from simulator import engine, graphics


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"libEGL.so.1", "libOSMesa.so.8"}, "egl"),
        ({"libOSMesa.so.8"}, "osmesa"),
        (set(), "disable"),
    ],
)
def test_egl_is_preferred_and_nothing_is_no_crash(monkeypatch, present, chosen):
    """On Linux: EGL, else OSMesa, else physics without pictures."""
    monkeypatch.setattr(graphics.sys, "platform", "linux")
    monkeypatch.setattr(graphics, "_is_loadable", present.__contains__)
    assert graphics.choose_backend() == chosen


def test_a_failing_or_disabled_renderer_is_one_sentence_with_the_packages(monkeypatch):
    """Whatever the backend raises; where no library was found MuJoCo is not even asked."""

    def fail(model, height, width):
        raise AttributeError("no glGetError")

    monkeypatch.setattr(engine.mujoco, "Renderer", fail)
    for backend, says in (("egl", "no glGetError"), ("disable", "libEGL.so.1")):
        monkeypatch.setenv("MUJOCO_GL", backend)
        with pytest.raises(engine.RendererUnavailable, match=says) as caught:
            engine.require_renderer()
        for package in ("libegl1", "libegl-mesa0", "libgl1-mesa-dri", "libosmesa6"):
            assert package in str(caught.value)
    assert not graphics._is_loadable("libNoSuchThing.so.1")
