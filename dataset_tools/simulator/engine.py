"""The one door to MuJoCo: chooses an off-screen OpenGL first, since MuJoCo reads MUJOCO_GL while it is imported.

Every module of this package that needs MuJoCo takes it from here.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OFFSCREEN_LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # in order of preference
NO_RENDERER = (
    "no off-screen OpenGL for MuJoCo ({reason}): install it with"
    " 'apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri', or 'apt-get install libosmesa6' and MUJOCO_GL=osmesa"
)


class RendererUnavailable(RuntimeError):
    """No picture can be drawn on this machine; the message names the packages to install."""


def choose_backend() -> str:
    """Name of an OpenGL that can draw without a screen, or "" where MuJoCo shall choose (not Linux, or none found)."""
    if not sys.platform.startswith("linux"):
        return ""
    for backend, library in OFFSCREEN_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return backend
    return ""


if not os.environ.get("MUJOCO_GL") and (_backend := choose_backend()):
    os.environ["MUJOCO_GL"] = _backend

import mujoco  # noqa: E402  MUJOCO_GL must be set first


@contextmanager
def open_renderer(model: mujoco.MjModel, height: int, width: int) -> Iterator[mujoco.Renderer]:
    """A renderer of (height, width) frames, closed at the end; raises RendererUnavailable where OpenGL is missing."""
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # MuJoCo raises ImportError, AttributeError, RuntimeError or GLError, by backend
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RendererUnavailable(NO_RENDERER.format(reason=reason)) from error
    try:
        yield renderer
    finally:
        renderer.close()


def require_renderer() -> None:
    """Draw one small empty picture, so that a missing OpenGL is found before an hour of physics."""
    with open_renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8) as renderer:
        renderer.render()
