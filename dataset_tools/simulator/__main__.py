"""Entry of `python -m dataset_tools.simulator`."""

import sys

from dataset_tools.simulator.command import main

if __name__ == "__main__":
    sys.exit(main())
