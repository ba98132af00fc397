"""The old name of `python -m benchmark`, for one release: it says the new one."""

import sys


def main() -> int:
    """Name the new command; exit code 2."""
    sys.stderr.write("this command has a new name: python -m benchmark\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
