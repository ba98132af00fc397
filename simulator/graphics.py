"""Finds an OpenGL that draws without a screen, and says what to install where there is none.

Nothing here imports MuJoCo, which reads MUJOCO_GL while it is imported: see engine.py.
"""

import ctypes
import sys

OFFSCREEN_LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # in order of preference
NO_BACKEND = "disable"  # MuJoCo's word; physics works without pictures


class RendererUnavailable(RuntimeError):
    """No picture can be drawn on this machine; the message names the packages to install."""


def explain_missing(reason: str) -> str:
    """One sentence for RendererUnavailable: what is amiss, and the mend."""
    return (
        f"MuJoCo has no off-screen OpenGL to draw with ({reason}): install libegl1 libegl-mesa0 libgl1-mesa-dri,"
        " or libosmesa6 and set MUJOCO_GL=osmesa"
    )


def choose_backend() -> str:
    """A value for MUJOCO_GL: what this machine has, "disable" if it has nothing; "" lets MuJoCo choose (not Linux)."""
    if not sys.platform.startswith("linux"):
        return ""
    return next((backend for backend, library in OFFSCREEN_LIBRARIES.items() if _is_loadable(library)), NO_BACKEND)


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
