"""Tables as text, in markdown and as csv. Standard library only."""

import csv
import io
from collections.abc import Collection, Iterable, Sequence


def to_markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table in markdown, without a line feed at its end.

    Args:
        headings: of the columns.
        rows: cells.
        right: numbers of the columns that are aligned to the right.
    """
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (headings, *rows)]
    rule = "".join("---:|" if column in right else "---|" for column in range(len(headings)))
    return "\n".join([lines[0], f"|{rule}", *lines[1:]])


def to_csv(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as csv, its lines ending in a line feed alone."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([headings, *rows])
    return stream.getvalue()
