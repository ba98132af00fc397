"""The sentence of a pair: one per task, or one that came with the data, in a template.

The papers use one short sentence a task (formats/tasks.py); RoboTwin ships sets of longer ones.
"""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from commands.errors import UserError
from dataset_tools.episode import Episode
from formats.atomic import read_json
from formats.hashing import stable_number
from formats.prepared_folder import Sentence
from formats.tasks import KNOWN_TASKS, sentence_of
from formats.templates import fill_fields

log = logging.getLogger(__name__)

SOURCES = ("auto", "task", "episode", "unseen")
NO_TEMPLATE = "{instruction}"


@dataclass(frozen=True)
class SentenceRule:
    """Where the sentence of a pair comes from.

    `source`: task (KNOWN_TASKS, else the words of the task's name), episode (a sentence that came with the
    episode, RoboTwin 2.0's `seen`), unseen (RoboTwin 2.0's `unseen`), auto (task if the table knows it, else episode,
    else the words of the name). `fixed` is one sentence for all. `shipped` maps a task to sentences of its own.
    """

    source: str = "auto"
    fixed: str | None = None
    shipped: tuple[tuple[str, tuple[str, ...]], ...] = ()
    template: str = NO_TEMPLATE

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UserError(f"instruction source '{self.source}' is not one of {', '.join(SOURCES)}.")
        fill_template(self.template, "a sentence", horizon=1, seconds=1.0)


def make_instruction(rule: SentenceRule, episode: Episode, pair_id: str, horizon: int) -> str:
    """Sentence of a pair. Where there are several to choose from, the pair's name decides.

    Raises:
        UserError: if the rule asks for a sentence that the episode does not have.
    """
    sentences = _sentences(rule, episode)
    sentence = sentences[stable_number("instruction", pair_id) % len(sentences)]
    rate = episode.frames_per_second
    return fill_template(rule.template, sentence, horizon=horizon, seconds=horizon / rate if rate else None)


def fill_template(template: str, instruction: str, *, horizon: int, seconds: float | None) -> str:
    """'{instruction}', '{horizon}' (frames) and '{seconds}' replaced.

    Raises:
        UserError: if the template has other fields, no instruction, or seconds where the rate is unknown.
    """
    if seconds is None and "{seconds" in template:
        raise UserError("the template says {seconds} but the frame rate is unknown; give --save-freq or use {horizon}.")
    spoken = f"{seconds or 0:.2f}".rstrip("0").rstrip(".")  # 3 and 0.96, not 3.00
    text = fill_fields(template, {"instruction": instruction, "horizon": horizon, "seconds": spoken})
    if instruction not in text:
        raise UserError(f"template '{template}' drops the sentence; write {{instruction}} where it belongs.")
    return text


def words_of_task(task: str) -> str:
    """'open_laptop' => 'open laptop'."""
    return " ".join(task.replace("-", "_").split("_")).strip()


@dataclass(frozen=True)
class _Shipped:
    """A task's file of RoboTwin 1.0's data/instructions."""

    instructions: Annotated[tuple[Sentence, ...], Meta(min_length=1)]


def read_shipped_sentences(folder: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """RoboTwin 1.0's data/instructions/<task>.json, {"instructions": [...]}, as (task, sentences) in order.

    Raises:
        UserError: if there are none or a file is malformed.
    """
    shipped = []
    for path in sorted(Path(folder).glob("*.json")):
        mend = 'wanted {"instructions": ["..."]}: mend or remove it'
        shipped.append((path.stem, read_json(path, _Shipped, mend=mend).instructions))
    if not shipped:
        raise UserError(f"no <task>.json in {folder}; point --instructions at RoboTwin's data/instructions.")
    return tuple(shipped)


def _sentences(rule: SentenceRule, episode: Episode) -> tuple[str, ...]:
    if rule.fixed:
        return (rule.fixed,)
    own = tuple(dict(rule.shipped).get(episode.task, ())) or _own_sentences(rule, episode)
    if own:
        return own
    if rule.source in ("episode", "unseen"):
        raise UserError(
            f"{episode.source} comes without {rule.source} instructions; use --instructions task, or --instruction."
        )
    known = sentence_of(episode.task)
    return (known or _words_of_unknown_task(episode.task),)


@cache
def _words_of_unknown_task(task: str) -> str:
    """The words of a task's name, with one warning a task: the name may be just a folder's."""
    words = words_of_task(task)
    log.warning("the task %s has no sentence of its own; it becomes '%s'. --instruction gives another.", task, words)
    return words


def _own_sentences(rule: SentenceRule, episode: Episode) -> tuple[str, ...]:
    if rule.source == "unseen":
        return tuple(episode.notes.get("unseen", ()))
    if rule.source == "episode" or (rule.source == "auto" and episode.task not in KNOWN_TASKS):
        return episode.instructions
    return ()
