"""The old name of `python -m dataset_tools.simulate`, kept for one release: it prints the new one."""

import sys


def main() -> int:
    """Name the new command; exit code 2."""
    sys.stderr.write("this command has a new name: python -m dataset_tools.simulate\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
