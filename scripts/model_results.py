"""results.md of a model: how it was made, beside its table.

    python -m scripts.model_results --run logs/demo_model --data data/prepared --table table.md --output results.md

Reads run.json (what trained), dataset.json (on what) and a table of metrics.compute_metrics.
"""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from commands.errors import MissingFileError
from commands.run import run_command
from formats.atomic import read_json, write_text
from formats.prepared_folder import DESCRIPTION

log = logging.getLogger(__name__)


def read_facts(path: Path) -> dict:
    """A JSON file that another program wrote.

    Raises:
        UserError: if it is absent or damaged.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no {path}; main.py writes run.json, prepare_dataset writes dataset.json.")
    return read_json(path)


def make_results(run: Mapping, data: Mapping, table: str) -> str:
    """Markdown: episodes, pairs, steps, device, time, commit and command, then the table."""
    episodes = ", ".join(f"{task} {source['episodes']}" for task, source in data["sources"].items())
    splits = {
        split: sum(count.get(split, 0) for count in data["counts"].values()) for split in ("train", "val", "test")
    }
    pairs = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    lines = [
        "# Results of the bundled model",
        "",
        "Made by `make demo-model`.",
        "",
        "| fact | value |",
        "|---|---|",
        f"| episodes | {episodes} |",
        f"| pairs | {pairs}; split by {data['split']} |",
        f"| data set's content hash | {data['content_sha256']} |",
        f"| optimiser steps | {run['steps']:,} |",
    ]
    for part in run["parts"]:
        where = f"{part['num_devices']} x {part['device']}, {part['precision']}, torch {part['torch']}"
        steps = f"steps {part['first_step']:,} to {part['last_step']:,}"
        lines.append(f"| {steps} | {part['seconds']:,.0f} s on {where}; commit {part['commit']}; `{part['command']}` |")
    return "\n".join([*lines, "", "## Unseen episodes", "", table.strip(), ""])


def write_model_results(argv: list[str] | None) -> None:
    """Write the page that the options ask for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.model_results", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder with run.json")
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with dataset.json")
    parser.add_argument("--table", type=Path, required=True, help="table.md of metrics.compute_metrics")
    parser.add_argument("--output", type=Path, required=True)
    opt = parser.parse_args(argv)
    facts = read_facts(opt.run / "run.json"), read_facts(opt.data / DESCRIPTION)
    if not opt.table.is_file():
        raise MissingFileError(f"there is no {opt.table}; make it with python -m metrics.compute_metrics --output.")
    write_text(opt.output, make_results(*facts, opt.table.read_text(encoding="utf-8")))
    log.info("wrote %s", opt.output)


def main(argv: list[str] | None = None) -> int:
    """Run; what a user can mend is one sentence and exit code 2."""
    return run_command("python -m scripts.model_results", lambda: write_model_results(argv))


if __name__ == "__main__":
    sys.exit(main())
