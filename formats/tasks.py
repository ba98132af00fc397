"""Tasks by name: the sentence that the papers use, and the colours of the blocks.

RoboTwin 1.0 and 2.0 name the same task differently, so it has two rows. A task that is not in the table works too: its
sentence is then the words of its name, and blocks of ANY_COLOURS are looked for.
"""

from dataclasses import dataclass

ANY_COLOURS = ("red", "blue", "green")  # black only where a task is known to have a black block


@dataclass(frozen=True)
class KnownTask:
    """A row of the table."""

    sentence: str  # the papers' instruction
    colours: tuple[str, ...] = ANY_COLOURS  # of its blocks; see metrics.measures.blocks


KNOWN_TASKS = {
    # RoboTwin 1.0
    "block_hammer_beat": KnownTask("beat the block with the hammer", ("red",)),
    "block_handover": KnownTask("handover the blocks", ("red", "blue")),
    "blocks_stack_easy": KnownTask("stack blocks", ("red", "black")),
    "blocks_stack_hard": KnownTask("stack blocks"),
    # RoboTwin 2.0
    "beat_block_hammer": KnownTask("beat the block with the hammer", ("red",)),
    "handover_block": KnownTask("handover the blocks", ("red", "blue")),
    "stack_blocks_two": KnownTask("stack blocks", ("red", "green")),
    "stack_blocks_three": KnownTask("stack blocks"),
}
SENTENCES = tuple(dict.fromkeys(task.sentence for task in KNOWN_TASKS.values()))


def sentence_of(task: str) -> str | None:
    """The sentence of a task; None for an unknown one."""
    return KNOWN_TASKS[task].sentence if task in KNOWN_TASKS else None


def colours_of(task: str | None) -> tuple[str, ...]:
    """Colours of the blocks of a task; ANY_COLOURS for an unknown one."""
    return KNOWN_TASKS[task].colours if task in KNOWN_TASKS else ANY_COLOURS
