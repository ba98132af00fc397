"""The recipes of dataset_tools/README.md do what they say."""

import re
import shlex
from pathlib import Path

import pytest

from dataset_tools.prepare_dataset import main
from dataset_tools.preparing.request import parse_request
from formats.prepared_folder import read_manifest
from tests.dataset_tools.layouts import tree

README = Path(__file__).parents[2] / "dataset_tools" / "README.md"
PAPERS = re.findall(r"^\| `?\w+`?.*\| `(--.+?)`", README.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("arguments", PAPERS)
def test_the_papers_commands_are_accepted(arguments):
    horizon = ["--horizon", "5"] if arguments == "--split leaky" else []
    given = ["--episodes", "x", "--output", "y", *horizon, *shlex.split(arguments)]
    options = parse_request(given).options
    assert options.pairing.kind in arguments or options.pairing.kind == "fixed"


def test_one_pair_an_episode_is_a_long_stride(tmp_path, episodes_folder):
    arguments = ["--episodes", str(episodes_folder(count=3)), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert main([*arguments, "--horizon", "10", "--stride", "100000"]) == 0
    assert [(pair.episode, pair.source_index) for pair in read_manifest(tmp_path / "out")] == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.reference
def test_ray_gives_the_bytes_of_the_command(tmp_path, episodes_folder):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    folder = episodes_folder(count=3)
    arguments = ["--episodes", str(folder), "--output", str(tmp_path / "command"), "--workers", "1"]
    assert main([*arguments, "--horizon", "5"]) == 0
    (recipe,) = re.findall(r"```python\n(.+?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    recipe = recipe.replace('"data/sim"', repr(str(folder))).replace('"data/prepared"', repr(str(tmp_path / "ray")))
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(README.parents[1])}})
    try:
        exec(compile(recipe, str(README), "exec"), {"__name__": "recipe"})
    finally:
        ray.shutdown()
    assert tree(tmp_path / "ray") == tree(tmp_path / "command")
