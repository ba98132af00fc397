"""The law of every command's door: whatever the files and configs hold, it ends in 0, or in one sentence and code 2.

Files that others write (manifests, prompts, LeRobot's meta/, annotations, configs) are damaged at random and handed to
the commands in this process. A fault of ours raises here with its traceback. Nothing may be written outside --output.
"""

import copy
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edit_cli
import main as main_py
from dataset_tools import export_hub, export_lerobot, inspect_dataset, prepare_dataset, prepare_episodes
from formats.prepared_folder import FramePair, write_manifest
from formats.run_folder import RUN_VARIABLE
from metrics import baselines, compute_metrics
from tests.dataset_tools.layouts import write_clip, write_hdf5, write_lerobot_2

LEAK = 1  # inspect_dataset's own code
NAMES = ("python -m dataset_tools.", "python -m metrics.", "edit_cli.py", "main.py")  # what a sentence begins with
HOSTILE = [
    None,
    True,
    0,
    -1,
    2**70,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "hello",
    "\u2028",
    "a\0b",
    "\ud800",
    "[/red]",
    "{0}",
    "{horizon:99999999999}",
    "../VICTIM/photo",
    "/etc/passwd",
    "x" * 5000,
    [],
    {},
    [None],
    {"a": {"b": []}},
    functools.reduce(lambda inner, _: [inner], range(400), []),
]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths to everything inside a JSON value."""
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


@st.composite
def damaged_values(draw: Callable, value: Any) -> Any:
    """The value with one or two of its members replaced or deleted."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(value))[:60]))
        if not path:
            return copy.deepcopy(draw(st.sampled_from(HOSTILE)))
        holder = functools.reduce(lambda inner, key: inner[key], path[:-1], value)
        if isinstance(holder, dict) and draw(st.integers(0, 3)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
    return value


def damage(draw: Callable, path: Path) -> None:
    """Damage one file: its bytes, or the values in it."""
    content = path.read_bytes()
    if draw(st.integers(0, 5)) == 0:
        cut = draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut] + draw(st.binary(max_size=8)) + content[cut + draw(st.integers(0, 9)) :])
        return
    if path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        number = draw(st.integers(0, len(lines) - 1))
        lines[number] = json.dumps(draw(damaged_values(json.loads(lines[number]))))
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".yaml":
        value = draw(damaged_values(yaml.safe_load(content)))
        path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8", errors="replace")
    else:
        path.write_text(json.dumps(draw(damaged_values(json.loads(content)))))


def make_prepared(folder: Path, *, index: bool) -> None:
    """Three pairs of 16 x 16 pictures; without an index, somebody's InstructPix2Pix data set."""
    from PIL import Image

    pairs = []
    for number, split in enumerate(("train", "val", "test")):
        pair = FramePair(f"task/{number}/0-5", f"{number:07d}", f"{number:06d}", "stack blocks", ".png", split, "task",
                         number, 0, 5, 5.0, "data/x", "episode")  # fmt: skip
        for end, path in enumerate((pair.source_path(folder), pair.target_path(folder))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 80 * number + 9 * end, np.uint8)).save(path)
        (path.parent / "prompt.json").write_text(json.dumps({"edit": pair.instruction}))
        pairs.append(pair)
    write_manifest(folder, pairs, {"tool": "test"})
    if not index:
        (folder / "index.jsonl").unlink()


TEXTS = [text for text in HOSTILE if isinstance(text, str) and "\0" not in text]  # no argument can hold a NUL
TEXT_FLAGS = {
    "prepare": ("--instruction", "--template", "--camera"),
    "lerobot": ("--instruction", "--robot", "--camera"),
    "edit": ("--edit", "--episode"),
}
PREPARE = ("--horizon", "3", "--size", "16", "--workers", "1")
READ_PREPARED = {
    "inspect": lambda given, out, *more: inspect_dataset.main([given, "--output", out]),
    "hub": lambda given, out, *more: export_hub.main([given, "--output", out]),
    "metrics": lambda given, out, *more: compute_metrics.main(["--data", given, "--measures", "psnr", "--output", out]),
    "baselines": lambda given, out, *more: baselines.main(["--data", given, "--output", out]),
    "edit": lambda given, out, *more: edit_cli.main(
        ["--input", given, "--output", out, "--split", "all", "--steps", "1", "--limit", "1", *more]
    ),
}
READ_EPISODES = {
    "prepare": lambda given, out, *more: prepare_dataset.main(["--episodes", given, "--output", out, *PREPARE, *more]),
    "lerobot": lambda given, out, *more: export_lerobot.main(["--episodes", given, "--output", out, *more]),
}
DOORS = (
    [("indexed", glob, door) for glob in ("index.jsonl",) for door in READ_PREPARED]
    + [("foreign", glob, door) for glob in ("seeds.json", "*/prompt.json") for door in READ_PREPARED]
    + [("lerobot", glob, door) for glob in ("meta/info.json", "meta/*.jsonl") for door in READ_EPISODES]
    + [("clip", "*/annotation/0.json", door) for door in READ_EPISODES]
    + [("acted", "*.json*", "inspect")]
    + [("hdf5", "**/instructions/*.json", "prepare"), ("config", "tiny.yaml", "main")]
)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, small_run_config: dict) -> Path:
    """A sound folder of every kind, which each case copies and damages."""
    root = tmp_path_factory.mktemp("doors")
    make_prepared(root / "indexed", index=True)
    make_prepared(root / "foreign", index=False)
    write_lerobot_2(root / "lerobot", "stack_blocks", 0, 6)
    sources = [{"episode_index": 0, "task": "stack_blocks", "number": 3, "save_freq": 50}]
    (root / "lerobot/meta/episode_sources.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sources))
    write_clip(root / "clip", "bridge", 0, 6)
    path = write_hdf5(root / "hdf5", "open_laptop", 0, 6)
    sentences = path.parents[1] / "instructions" / "episode0.json"
    sentences.parent.mkdir()
    sentences.write_text(json.dumps({"seen": ["open it", "open the laptop"], "unseen": ["lift the lid"]}))
    made = ["--episodes", str(root / "hdf5"), "--output", str(root / "acted"), "--size", "64", "--chunk", "2"]
    assert prepare_episodes.main(made) == 0
    (root / "config").mkdir()
    (root / "config" / "tiny.yaml").write_text(yaml.safe_dump(small_run_config))
    return root


@pytest.fixture(scope="session")
def small_run_config() -> dict:
    """A whole training config of a tiny size, composed from the repository's own."""
    from ldm.training.config import merge_files

    root = Path(__file__).resolve().parents[1]
    return merge_files([root / "configs" / "cpu_tiny.yaml"], [])


def files_outside(root: Path) -> set[str]:
    """Everything under `root` but the output."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.relative_to(root).parts[0] != "out"}


def check_case(case: Any, inputs: Path, root: Path, capsys: pytest.CaptureFixture) -> None:
    """One damaged input through one door."""
    kind, glob, door = case.draw(st.sampled_from(DOORS))
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(inputs / kind, root / "given")
    victim = case.draw(st.sampled_from(sorted((root / "given").glob(glob))))
    damage(case.draw, victim)
    before = files_outside(root)
    given, out = str(root / "given"), str(root / "out")
    flag = case.draw(st.sampled_from((None, *TEXT_FLAGS.get(door, ()))))
    more = [f"{flag}={case.draw(st.sampled_from(TEXTS))}"] if flag else []
    try:
        if door == "main":
            os.environ.pop(RUN_VARIABLE, None)  # a run's name, which the next one would take
            code = main_py.main(["--base", str(victim), "--logdir", out, "--dry-run"])
        else:
            code = (READ_PREPARED | READ_EPISODES)[door](given, out, *more)
    except SystemExit as end:  # argparse
        code = end.code
    said = capsys.readouterr().err
    assert code in (0, 2) or (door, code) == ("inspect", LEAK), said
    assert "Traceback" not in said
    assert code != 2 or any(": " in line and line.startswith(NAMES) for line in said.splitlines()), said
    assert files_outside(root) == before


def all_cases(count: int) -> Callable:
    """Hypothesis' settings for so many cases."""
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


@functools.cache
def bundled_model() -> Any:
    """The model that all cases of edit_cli share."""
    from prediction.load import load_predictor
    from prediction.model_request import ModelRequest

    return load_predictor(ModelRequest(sampling={"steps": 1}))


@pytest.fixture(autouse=True)
def _one_model(monkeypatch):
    monkeypatch.setattr(edit_cli, "load", lambda request: bundled_model())


@all_cases(50)
@given(case=st.data())
def test_a_damaged_input_is_one_sentence(case, inputs, tmp_path_factory, capsys):
    check_case(case, inputs, tmp_path_factory.getbasetemp() / "case", capsys)


@pytest.mark.slow
@all_cases(2000)
@given(case=st.data())
def test_two_thousand_damaged_inputs_are_one_sentence_each(case, inputs, tmp_path_factory, capsys):
    check_case(case, inputs, tmp_path_factory.getbasetemp() / "slow_case", capsys)
