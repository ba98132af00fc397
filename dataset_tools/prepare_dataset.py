"""Command line: robot episodes => prepared folder.

    python -m dataset_tools.prepare_dataset --episodes data/sim --output data/prepared --horizon 20 --size 64

Interrupted at any moment, the same command goes on where it stopped and ends with the same bytes.
"""

import sys
from collections.abc import Sequence

from commands.run import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare a folder; 0 when it is whole (or this shard is done), 2 and one sentence for bad input."""

    def body() -> None:
        from dataset_tools.preparing.prepare import prepare  # noqa: PLC0415 (Ctrl-C while it loads is one sentence)
        from dataset_tools.preparing.request import parse_request  # noqa: PLC0415

        prepare(parse_request(argv))

    return run_command("python -m dataset_tools.prepare_dataset", body)


if __name__ == "__main__":
    sys.exit(main())
