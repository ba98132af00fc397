"""Command line: robot episodes => prepared episodes, to train policies.

    python -m dataset_tools.prepare_episodes --episodes data/sim --output data/episodes \\
        --camera head_camera left_camera right_camera --size 128 64 64

Separate from prepare_dataset because pairing, horizons and templates do not apply to whole episodes, and the folder
may grow. Interrupted at any moment, the same command goes on; with more --episodes it adds those that are new.
"""

import sys
from collections.abc import Sequence

from commands.run import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare a folder; 0 when it is whole, 2 and one sentence for bad input."""

    def body() -> None:
        from dataset_tools.preparing.episodes import prepare_command  # noqa: PLC0415 (Ctrl-C while it loads)

        prepare_command(argv)

    return run_command("python -m dataset_tools.prepare_episodes", body)


if __name__ == "__main__":
    sys.exit(main())
