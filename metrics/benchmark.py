"""Measures speed: python -m metrics.benchmark training | inference | image_loss

Each has its own options; see `python -m metrics.benchmark training --help`. Layer 1.
"""

import sys
from collections.abc import Sequence

USAGE = "usage: python -m metrics.benchmark {training,inference,image_loss} [options]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of them; 2 where none is named."""
    what, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if what == "training":
        from metrics import benchmark_training

        sys.stdout.write(benchmark_training.run(rest[:-1]) + "\n")
        return 0
    if what == "inference":
        from metrics import benchmark_inference

        return benchmark_inference.run(rest[:-1])
    if what == "image_loss":
        from metrics import benchmark_image_loss

        return benchmark_image_loss.main(rest[:-1])
    sys.stderr.write(USAGE + "\n")
    return 0 if what in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
