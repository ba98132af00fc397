"""Imports MuJoCo; every module of this package that needs it takes it from here.

Importing this module sets MUJOCO_GL, unless the user has, since MuJoCo reads it while it is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from simulator.graphics import (
    NO_BACKEND,
    OFFSCREEN_LIBRARIES,
    RendererUnavailable,
    choose_backend,
    explain_missing,
)
from simulator.scene import WOOD_FILE, wood_png

if not os.environ.get("MUJOCO_GL"):
    os.environ["MUJOCO_GL"] = choose_backend()

try:
    import mujoco
except (AttributeError, OSError, RuntimeError) as error:  # what a MUJOCO_GL that this machine has not got leads to
    raise RendererUnavailable(explain_missing(f"MUJOCO_GL={os.environ['MUJOCO_GL']}: {error}")) from error


def load_model(scene: str) -> mujoco.MjModel:
    """Compile MJCF text made by scene.make_scene_xml."""
    return mujoco.MjModel.from_xml_string(scene, {WOOD_FILE: wood_png()})


@contextmanager
def open_renderer(model: mujoco.MjModel, height: int, width: int) -> Iterator[mujoco.Renderer]:
    """A renderer of (height, width) frames, closed at the end.

    Raises:
        RendererUnavailable: where there is no OpenGL.
    """
    if os.environ["MUJOCO_GL"] == NO_BACKEND:
        libraries = " nor ".join(OFFSCREEN_LIBRARIES.values())
        raise RendererUnavailable(explain_missing(f"MUJOCO_GL={NO_BACKEND}, or neither {libraries} is there"))
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # ImportError, AttributeError, RuntimeError, FatalError or GLError, by backend
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RendererUnavailable(explain_missing(reason)) from error
    try:
        yield renderer
    finally:
        renderer.close()


def require_renderer() -> None:
    """Draw one small empty picture, so that a missing OpenGL is found before an hour of physics."""
    with open_renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8) as renderer:
        renderer.render()
