"""Which OpenGL is chosen."""

import pytest

from simulator import graphics


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


def test_an_absent_library_is_not_loadable():
    """Asking the loader does not raise."""
    assert not graphics._is_loadable("libNoSuchThing.so.1")


def test_the_message_names_the_packages():
    """One sentence with the mend."""
    message = graphics.explain_missing("nothing there")
    assert all(
        word in message for word in ("nothing there", "libegl1", "libegl-mesa0", "libgl1-mesa-dri", "libosmesa6")
    )
