"""A trained policy as it is published: averaged weights and what its config says of the model.

python -m scripts.publish_policy --run logs/policy --output bundled_policy
"""

import argparse
import sys
from pathlib import Path

from commands.run import run_command


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.publish_policy", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder of main.py, or a checkpoint in one")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; run_policy.py --policy takes it")
    parser.add_argument("--half", action="store_true", help="store matrices in float16: half the size")
    args = parser.parse_args(argv)

    def body() -> None:
        from prediction.policies.load import publish

        publish(args.run, args.output, half=args.half)

    return run_command(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
