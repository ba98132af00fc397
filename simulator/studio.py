"""Draws what the cameras see of a scene, without touching its physics: positions are copied into a scratch state."""

from contextlib import ExitStack

import numpy as np
from PIL import Image

from commands.errors import UserError
from simulator.engine import mujoco, open_renderer
from simulator.scene import CAMERAS, FRAME_HEIGHT, FRAME_WIDTH


class Studio:
    """The cameras of one model; OpenGL is opened at the first picture.

    Drawing from the live state would change the physics, since `mj_forward` also stores where its solver starts next.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self._scratch = mujoco.MjData(model)
        self._opened = ExitStack()
        self._renderer: mujoco.Renderer | None = None

    def arrange(self, qpos: np.ndarray) -> None:
        """Put everything where `qpos` (nq,) says."""
        self._scratch.qpos[:] = qpos
        mujoco.mj_forward(self.model, self._scratch)

    def draw(self, camera: str) -> np.ndarray:
        """Picture of a camera, named as in scene.CAMERAS: uint8 (240, 320, 3) RGB.

        Raises:
            RendererUnavailable: where there is no OpenGL.
        """
        if self._renderer is None:
            self._renderer = self._opened.enter_context(open_renderer(self.model, FRAME_HEIGHT, FRAME_WIDTH))
        self._renderer.update_scene(self._scratch, CAMERAS[camera])
        return self._renderer.render()

    def camera_pose(self, camera: str) -> np.ndarray:
        """Camera to world (4, 4) in OpenGL's axes: x right, y up, z backwards."""
        seen = self._scratch.camera(CAMERAS[camera])
        pose = np.eye(4)
        pose[:3, :3] = seen.xmat.reshape(3, 3)
        pose[:3, 3] = seen.xpos
        return pose

    def close(self) -> None:
        """Give OpenGL's memory back; the next picture opens it again."""
        self._renderer = None
        self._opened.close()


def check_cameras(cameras: tuple[str, ...]) -> None:
    """Refuse a name that is not one of scene.CAMERAS."""
    for camera in cameras:
        if camera not in CAMERAS:
            raise UserError(f"there is no camera {camera!r}; choose from {', '.join(CAMERAS)}.")


def shrink(frame: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) squeezed into (size, size, 3) by a Lanczos filter: what the training data went through."""
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS))
