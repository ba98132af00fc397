"""The robot as MJCF text: two six-jointed arms with parallel grippers, drawn from capsules and boxes.

Poses of the bases after RoboTwin 1.0 (ALOHA, arms at y = -0.42 and x = +-0.297); link lengths and joint ranges after
the ARX L5. Pure text: nothing here imports MuJoCo.
"""

SIDES = ("left", "right")
BASE_X = {"left": -0.297, "right": 0.297}  # metres, RoboTwin's ALOHA
BASE_Y, BASE_Z = -0.4195, 0.782

NUM_JOINTS = 6
HOME = (0.0, 0.12, 0.12, 0.0, 0.0, 0.0)  # radians: folded, gripper above the table's edge
FINGER_OPEN, FINGER_CLOSED = 0.045, 0.0  # metres per finger, as RoboTwin stores them
FINGERTIP_REACH = 0.140  # metres from the tool frame along its x axis to the middle of the pads
STATE_SIZE = len(SIDES) * (NUM_JOINTS + 1)

# Position servos (kp, kv), joints 1 to 6: stiff enough to follow a waypoint path within a millimetre.
SERVO_GAINS = ((600, 40), (900, 60), (900, 60), (300, 20), (120, 8), (80, 5))
FINGER_FORCE = 25  # newtons

DEFAULTS = """
  <default class="visual"><geom contype="0" conaffinity="0" mass=".15"/></default>
  <default class="palm"><geom contype="2" conaffinity="1" mass=".2"/></default>
  <default class="pad">
    <geom contype="2" conaffinity="1" friction="1.6 .05 .001" condim="4" solref=".004 1" mass=".03"/>
  </default>
"""

_FINGER = """
<body name="{side}_finger_{letter}" pos="0.0866 0 0" gravcomp="1">
  <joint name="{side}_slide_{letter}" type="slide" axis="0 {sign} 0" range="0 .047" damping="20" armature=".05"/>
  <geom class="visual" type="box" size=".012 .010 .014" pos=".006 {root_y} 0" material="dark"/>
  <geom class="pad" name="{side}_pad_{letter}" type="box" size=".035 .005 .011" pos=".035 {pad_y} 0" material="rubber"/>
</body>
"""

# Each body hangs in the one before it; x points along the tool, z is the yaw axis of the base.
_ARM = """
<body name="{side}_base" pos="{x} {y} {z}" quat=".70710678 0 0 .70710678">
 <geom class="visual" type="cylinder" size=".045 .02" pos="0 0 -.02" material="metal"/>
 <geom class="visual" type="cylinder" size=".04 .03" pos="0 0 .025" material="arm"/>
 <body name="{side}_link1" pos="0 0 .0565" gravcomp="1">
  <joint name="{side}_joint1" axis="0 0 1" range="-177.6 177.6"/>
  <geom class="visual" type="box" size=".035 .034 .03" pos=".01 0 .03" material="arm"/>
  <geom class="visual" type="cylinder" size=".033 .042" pos=".02 0 .047" euler="90 0 0" material="metal"/>
  <body name="{side}_link2" pos=".02 0 .047" gravcomp="1">
   <joint name="{side}_joint2" axis="0 1 0" range="0 200.5"/>
   <geom class="visual" type="capsule" fromto="0 0 0 -.264 0 0" size=".026" material="arm"/>
   <geom class="visual" type="box" size=".07 .03 .018" pos="-.13 0 0" material="white"/>
   <geom class="visual" type="cylinder" size=".032 .038" pos="-.264 0 0" euler="90 0 0" material="metal"/>
   <body name="{side}_link3" pos="-.264 0 0" gravcomp="1">
    <joint name="{side}_joint3" axis="0 -1 0" range="0 183.3"/>
    <geom class="visual" type="capsule" fromto="0 0 0 .06 0 .05" size=".024" material="arm"/>
    <geom class="visual" type="capsule" fromto=".06 0 .05 .245 0 .06" size=".024" material="arm"/>
    <geom class="visual" type="box" size=".06 .027 .016" pos=".14 0 .058" material="white"/>
    <body name="{side}_link4" pos=".245 0 .06" gravcomp="1">
     <joint name="{side}_joint4" axis="0 -1 0" range="-103.1 103.1"/>
     <geom class="visual" type="cylinder" size=".026 .032" euler="90 0 0" material="metal"/>
     <geom class="visual" type="capsule" fromto="0 0 0 .074 0 0" size=".022" material="arm"/>
     <body name="{side}_link5" pos=".0739 0 0" gravcomp="1">
      <joint name="{side}_joint5" axis="0 0 -1" range="-103.1 103.1"/>
      <geom class="visual" type="cylinder" size=".025 .03" material="metal"/>
      <body name="{side}_link6" pos=".0253 0 0" gravcomp="1">
       <joint name="{side}_joint6" axis="1 0 0" range="-177.6 177.6"/>
       <site name="{side}_tool" size=".005" rgba="0 0 0 0"/>
       <camera name="{side}_camera" pos=".065 0 .09" xyaxes="0 -1 0 .6428 0 .7660" fovy="{fovy}"/>
       <geom class="visual" type="cylinder" size=".028 .02" pos=".02 0 0" euler="0 90 0" material="arm"/>
       <geom class="palm" type="box" size=".022 .055 .02" pos=".062 0 0" material="arm"/>
       <geom class="visual" type="box" size=".004 .05 .021" pos=".085 0 0" material="metal"/>
       <geom class="visual" type="box" size=".012 .045 .012" pos=".05 0 .04" material="metal"/>
       {fingers}
      </body></body></body></body></body></body></body>
"""


def make_arm_xml(side: str, fovy: float) -> str:
    """One arm's bodies, with a wrist camera of vertical field of view `fovy` degrees."""
    fingers = "".join(
        _FINGER.format(side=side, letter=letter, sign=sign, root_y=0.012 * sign, pad_y=0.005 * sign)
        for letter, sign in (("a", 1), ("b", -1))
    )
    return _ARM.format(side=side, x=BASE_X[side], y=BASE_Y, z=BASE_Z, fovy=fovy, fingers=fingers)


def make_actuator_xml(side: str) -> str:
    """Position servos of one arm: joints 1 to 6, then both fingers."""
    joints = [
        f'<position name="{side}_servo{i}" joint="{side}_joint{i}" kp="{kp}" kv="{kv}" inheritrange="1"/>'
        for i, (kp, kv) in enumerate(SERVO_GAINS, start=1)
    ]
    fingers = [
        f'<position name="{side}_grip_{letter}" joint="{side}_slide_{letter}" kp="900" kv="30" ctrlrange="0 .047"'
        f' forcerange="-{FINGER_FORCE} {FINGER_FORCE}"/>'
        for letter in "ab"
    ]
    return "".join(joints + fingers)


def make_exclusion_xml(side: str) -> str:
    """The two fingers of a gripper close through each other's margin without a contact."""
    return f'<exclude body1="{side}_finger_a" body2="{side}_finger_b"/>'
