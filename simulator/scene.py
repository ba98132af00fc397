"""The scene as MJCF text: table, wall, lights, cameras, and the objects of each task.

Coordinates, cameras and object sizes after RoboTwin 1.0 (MIT). Pure text and numbers: nothing here imports MuJoCo.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from commands.errors import UserError
from simulator.robot import DEFAULTS, SIDES, make_actuator_xml, make_arm_xml, make_exclusion_xml

TIMESTEP = 0.002  # seconds; half of RoboTwin's 1/250
TABLE_TOP = 0.74  # metres
FRAME_HEIGHT, FRAME_WIDTH = 240, 320  # RoboTwin's D435
FOVY = 37  # degrees, vertical; RoboTwin's D435
CAMERAS = {"head": "head_camera", "front": "front_camera", "left": "left_camera", "right": "right_camera"}
WOOD_FILE = "wood.png"
WOOD_RGB = (0.62, 0.45, 0.30)
SHADOW_MAP = 1024  # texels a side: MuJoCo's 4096 costs ten times the rest of a frame on a CPU
LIGHT_TARGET = (0.0, -0.05, 0.8)  # metres: the middle of the work space
LIGHT_DISTANCE = 2.0
LOOKS = {  # ranges that a seed draws from; none overlaps with "unseen", which only tests see
    "train": {"wall": (0.8, 1.0), "table": (0.85, 1.2), "sun": (0.40, 0.60)},
    "dark": {"wall": (0.4, 0.55), "table": (0.45, 0.62), "sun": (0.16, 0.24)},
    "bright": {"wall": (0.9, 1.0), "table": (1.25, 1.6), "sun": (0.64, 0.85)},
    "unseen": {"wall": (0.6, 0.75), "table": (0.7, 0.82), "sun": (0.28, 0.38)},
}

_SCENE = """
<mujoco>
 <compiler angle="degree" autolimits="true"/>
 <option timestep="{timestep}" integrator="implicitfast" cone="elliptic" impratio="10" noslip_iterations="3"/>
 <visual>
  <global offwidth="{width}" offheight="{height}"/>
  <quality shadowsize="{shadow_map}" offsamples="0"/>
  <headlight ambient=".32 .32 .32" diffuse=".25 .25 .25" specular="0 0 0"/>
  <map znear=".02" zfar="20" shadowclip=".9"/>
 </visual>
 <statistic extent="1" center="0 -.05 .8"/>
 <default>
  <joint damping="2" armature=".05"/>
  {defaults}
  <default class="object">
   <geom contype="1" conaffinity="3" friction="1.0 .02 .0005" condim="4" solref=".006 1"/>
  </default>
 </default>
 <asset>
  <texture name="sky" type="skybox" builtin="gradient" rgb1=".8 .8 .85" rgb2=".4 .4 .45" width="64" height="64"/>
  <texture name="wood" type="2d" file="{wood_file}"/>
  <material name="table" texture="wood" specular=".15" shininess=".2" rgba="{table_rgb} 1"/>
  <material name="arm" rgba=".15 .15 .17 1" specular=".5" shininess=".4"/>
  <material name="metal" rgba=".42 .43 .46 1" specular=".8" shininess=".6"/>
  <material name="white" rgba=".85 .85 .87 1" specular=".4" shininess=".5"/>
  <material name="dark" rgba=".10 .10 .11 1"/>
  <material name="rubber" rgba=".16 .16 .17 1" specular=".1"/>
  <material name="steel" rgba=".55 .56 .60 1" specular=".9" shininess=".8"/>
  <material name="handle" rgba=".80 .58 .30 1" specular=".2"/>
  <material name="red" rgba=".85 .07 .06 1" specular=".3"/>
  <material name="blue" rgba=".08 .12 .85 1" specular=".3"/>
  <material name="black" rgba=".03 .03 .03 1" specular=".4"/>
 </asset>
 <worldbody>
  <light type="directional" pos="{sun_position}" dir="{sun_direction}" castshadow="true"
         diffuse="{sun} {sun} {sun}" specular=".3 .3 .3"/>
  <light pos="1 0 1.8" dir="-1 0 -1" castshadow="false" diffuse=".18 .18 .18" specular=".1 .1 .1"/>
  <light pos="-1 0 1.8" dir="1 0 -1" castshadow="false" diffuse=".18 .18 .18" specular=".1 .1 .1"/>
  <geom type="plane" size="4 4 .1" rgba=".45 .45 .47 1" contype="0" conaffinity="0"/>
  <geom type="box" pos="0 1 1.5" size="3 .6 1.5" rgba="{wall_rgb} 1" contype="0" conaffinity="0"/>
  <geom name="table" type="box" pos="0 0 .715" size=".6 .35 .025" material="table"
        contype="1" conaffinity="3" friction="1 .02 .0005" condim="4"/>
  <geom type="box" pos="0 -.42 .74" size=".45 .06 .02" rgba=".3 .3 .32 1" contype="0" conaffinity="0"/>
  <camera name="head_camera" pos="-.032 -.45 1.35" xyaxes="1 0 0 0 .8 .6" fovy="{fovy}"/>
  <camera name="front_camera" pos="0 -.45 .85" xyaxes="1 0 0 0 .0995 .995" fovy="{fovy}"/>
  {arms}
  {objects}
 </worldbody>
 <contact>{exclusions}</contact>
 <actuator>{actuators}</actuator>
</mujoco>
"""


@dataclass(frozen=True)
class Look:
    """Light and tints of an episode's pictures."""

    sun_direction: tuple[float, float, float]  # downwards
    sun: float  # diffuse intensity, 0 to 1
    table_rgb: tuple[float, float, float]  # multiplies the wood's colour
    wall_rgb: tuple[float, float, float]


def sample_look(rng: np.random.Generator, look: str = "train") -> Look:
    """A light and two tints. The sun stays within about 27 degrees of the vertical: flatter light dots the shadows.

    Args:
        rng: drawn from alike whatever the look, so that one seed has its objects in the same places.
        look: of LOOKS. "unseen" is dimmer, with a darker table and a greyer wall, than "train", and apart from all.
    """
    if look not in LOOKS:
        raise UserError(f"there is no look {look!r}; choose from {', '.join(LOOKS)}.")
    limits = LOOKS[look]
    sun_direction = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.0, 0.4)), -1.0)
    wall = rng.uniform(*limits["wall"])
    table = rng.uniform(*limits["table"])
    return Look(
        sun_direction=sun_direction,
        sun=float(rng.uniform(*limits["sun"])),
        table_rgb=(table, table, table),
        wall_rgb=(wall, 0.9 * wall, 0.9 * wall),
    )


def make_object_xml(name: str, position: np.ndarray, yaw: float, geoms: str, *, fixed: bool = False) -> str:
    """A body at `position` (metres), turned by `yaw` (radians) about the vertical; free unless `fixed`."""
    joint = "" if fixed else "<freejoint/>"
    return f'<body name="{name}" pos="{_text(position)}" euler="0 0 {np.rad2deg(yaw)}">{joint}{geoms}</body>'


def make_box_xml(name: str, half_size: tuple[float, float, float], material: str, mass: float) -> str:
    """A box that collides with the table, the grippers and other objects."""
    return (
        f'<geom class="object" name="{name}" type="box" size="{_text(half_size)}" material="{material}" mass="{mass}"/>'
    )


def make_scene_xml(objects: str, look: Look) -> str:
    """The whole model; the texture `WOOD_FILE` has to be handed over as an asset, see `wood_png`."""
    direction = np.asarray(look.sun_direction)
    position = np.asarray(LIGHT_TARGET) - LIGHT_DISTANCE * direction / np.linalg.norm(direction)
    return _SCENE.format(
        timestep=TIMESTEP,
        width=FRAME_WIDTH,
        height=FRAME_HEIGHT,
        shadow_map=SHADOW_MAP,
        defaults=DEFAULTS,
        wood_file=WOOD_FILE,
        table_rgb=_text(look.table_rgb),
        wall_rgb=_text(look.wall_rgb),
        sun_position=_text(position),
        sun_direction=_text(direction),
        sun=look.sun,
        fovy=FOVY,
        arms="".join(make_arm_xml(side, FOVY) for side in SIDES),
        objects=objects,
        exclusions="".join(make_exclusion_xml(side) for side in SIDES),
        actuators="".join(make_actuator_xml(side) for side in SIDES),
    )


@cache
def wood_png() -> bytes:
    """A wood grain, the same in every run: a sum of stretched sines and a little noise."""
    rng = np.random.default_rng(3)
    size = 256
    across, along = np.linspace(0, 1, size)[:, None], np.linspace(0, 1, size)[None]
    grain = np.zeros((size, size))
    for _ in range(18):
        phase = across * rng.uniform(4, 60) + along * rng.uniform(0, 1.5) + rng.uniform()
        grain = grain + np.sin(2 * np.pi * phase) * rng.uniform(0.02, 0.09)
    grain = grain + rng.normal(0, 0.03, (size, size))
    pixels = np.clip(np.asarray(WOOD_RGB) * (1 + 0.35 * grain[..., None]), 0, 1)
    buffer = io.BytesIO()
    Image.fromarray((pixels * 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _text(numbers: np.ndarray | tuple[float, ...]) -> str:
    return " ".join(f"{float(number):.8g}" for number in numbers)
