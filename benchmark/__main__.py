"""Measures speed: python -m benchmark training | inference | image_loss

Each has its own options; see `python -m benchmark training --help`.
"""

import sys
from collections.abc import Sequence

from commands.errors import BAD_INPUT, sentence_for

USAGE = "usage: python -m benchmark {training,inference,image_loss} [options]"
PEER = "diffusers"
NO_PEER = f"{PEER} is not installed, and there is nothing to compare with: pip install {PEER}."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of them; 2 where none is named, and with one sentence where what is asked for cannot be measured."""
    try:
        return _run([*(sys.argv[1:] if argv is None else argv), ""])
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == PEER
        sentence = NO_PEER if absent else sentence_for(error)
        if sentence is None:
            raise
        sys.stderr.write(sentence + "\n")
        return BAD_INPUT


def _run(argv: Sequence[str]) -> int:
    what, *rest = argv
    if what == "training":
        from benchmark import training as benchmark_training

        sys.stdout.write(benchmark_training.run(rest[:-1]) + "\n")
        return 0
    if what == "inference":
        from benchmark import inference as benchmark_inference

        return benchmark_inference.run(rest[:-1])
    if what == "image_loss":
        from benchmark import image_loss as benchmark_image_loss

        return benchmark_image_loss.main(rest[:-1])
    sys.stderr.write(USAGE + "\n")
    return 0 if what in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
