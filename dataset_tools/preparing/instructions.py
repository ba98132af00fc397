"""What the model is told: a sentence per task, sentences that came with the data, templates.

The papers use one short sentence a task (papers/README.md, section 1); RoboTwin ships sets of longer ones.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from commands.errors import UserError
from dataset_tools.episode import Episode
from formats.hashing import stable_number

TASK_TO_INSTRUCTION = {
    # RoboTwin 1.0
    "block_hammer_beat": "beat the block with the hammer",
    "block_handover": "handover the blocks",
    "blocks_stack_easy": "stack blocks",
    "blocks_stack_hard": "stack blocks",
    # RoboTwin 2.0
    "beat_block_hammer": "beat the block with the hammer",
    "handover_block": "handover the blocks",
    "stack_blocks_two": "stack blocks",
    "stack_blocks_three": "stack blocks",
}
SOURCES = ("auto", "task", "episode", "unseen")
NO_TEMPLATE = "{instruction}"
FUTURE_SCENE = "Scene after executing '{instruction}'."  # light_future


@dataclass(frozen=True)
class SentenceRule:
    """Where the sentence of a pair comes from.

    `source`: task (TASK_TO_INSTRUCTION, else the words of the task's name), episode (a sentence that came with the
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
        ValueError: if the template has other fields, no instruction, or seconds where the rate is unknown.
    """
    if seconds is None and "{seconds" in template:
        raise UserError("the template says {seconds} but the frame rate is unknown; give --save-freq or use {horizon}.")
    try:
        spoken = f"{seconds or 0:.2f}".rstrip("0").rstrip(".")  # 3 and 0.96, not 3.00
        text = template.format(instruction=instruction, horizon=horizon, seconds=spoken)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(
            f"template '{template}' is malformed ({error}); it may say {{instruction}}, {{horizon}} and {{seconds}}."
        ) from error
    if instruction not in text:
        raise UserError(f"template '{template}' drops the sentence; write {{instruction}} where it belongs.")
    return text


def words_of_task(task: str) -> str:
    """'open_laptop' => 'open laptop'."""
    return " ".join(task.replace("-", "_").split("_")).strip()


def read_shipped_sentences(folder: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """RoboTwin 1.0's data/instructions/<task>.json, {"instructions": [...]}, as (task, sentences) in order.

    Raises:
        UserError: if there are none or a file is malformed.
    """
    shipped = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            sentences = json.loads(path.read_text(encoding="utf-8"))["instructions"]
            if not sentences or not all(isinstance(sentence, str) for sentence in sentences):
                raise TypeError("no list of sentences")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{path} is not {{"instructions": ["...", ...]}} in UTF-8 ({error}); mend or remove it.'
            ) from error
        shipped.append((path.stem, tuple(sentences)))
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
    return (TASK_TO_INSTRUCTION.get(episode.task) or words_of_task(episode.task),)


def _own_sentences(rule: SentenceRule, episode: Episode) -> tuple[str, ...]:
    if rule.source == "unseen":
        return tuple(episode.notes.get("unseen", ()))
    if rule.source == "episode" or (rule.source == "auto" and episode.task not in TASK_TO_INSTRUCTION):
        return episode.instructions
    return ()
