"""The script of make demo-policy, with a python that only notes what it was asked."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo_policy.sh"
PYTHON = r"""#!/bin/sh
case "$2" in
    *read_yaml*) printf 'python -m simulate --episodes 300 --cameras head\n\npython -m prepare --episodes data\n' ;;
    *torch*) exit 1 ;;
    *) echo "$@" >> asked ;;
esac
"""


def test_stages_follow_one_another_and_one_that_was_begun_goes_on(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    last = tmp_path / "runs" / "joint_stage_1" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    environment = {**os.environ, "RUNS": "runs", "EPISODES": "8", "SIZE": "configs/joint/small.yaml"}
    subprocess.run(["bash", SCRIPT, "20"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    simulate, prepare, first, second, third, *played = (tmp_path / "asked").read_text().splitlines()
    assert simulate.startswith("-m simulate --episodes 8 --cameras head --workers")
    assert prepare.startswith("-m prepare --episodes data --workers"), "a folder is no number of episodes"
    assert first == "main.py --resume runs/joint_stage_1"
    size = "configs/joint/small.yaml"
    for number, line in ((2, second), (3, third)):
        before = f"pretrained.path=runs/joint_stage_{number - 1}/checkpoints/last.ckpt"
        recipe = f"configs/recipes/joint_stage_{number}.yaml"
        assert line == f"main.py --base {recipe} {size} --folder runs/joint_stage_{number} {before}"
    assert [line.split()[0] for line in played] == [*["run_policy.py"] * 3, "-m", "-m"]
    assert all("--episodes 20" in line for line in played[:3]) and "rollouts_replay" in played[3]
    assert "joint_stage_1_simulator" in SCRIPT.read_text(), "nothing is downloaded"
