"""Laws of sentences."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.preparing.instructions import (
    SentenceRule,
    fill_template,
    make_instruction,
    read_shipped_sentences,
)

EPISODE = Episode("open_laptop", 0, 10, Path("x"), len, instructions=("seen a", "seen b"), save_freq=15)
EPISODE = replace(EPISODE, notes={"unseen": ("unseen",)})


def sentence(rule: SentenceRule, episode: Episode = EPISODE, pair_id: str = "a", horizon: int = 50) -> str:
    return make_instruction(rule, episode, pair_id, horizon)


@pytest.mark.parametrize(
    ("old", "new", "instruction"),
    [
        ("block_hammer_beat", "beat_block_hammer", "beat the block with the hammer"),
        ("block_handover", "handover_block", "handover the blocks"),
        ("blocks_stack_easy", "stack_blocks_two", "stack blocks"),
    ],
)
def test_both_generations_of_task_names_have_the_papers_sentence(old, new, instruction):
    for task in (old, new):
        assert sentence(SentenceRule(), replace(EPISODE, task=task)) == instruction


def test_sources_can_be_chosen():
    """An unknown task is told by its episode, else by its name."""
    assert sentence(SentenceRule()) in EPISODE.instructions
    assert sentence(SentenceRule(), replace(EPISODE, instructions=())) == "open laptop"
    assert sentence(SentenceRule("task")) == "open laptop"
    assert sentence(SentenceRule("episode")) in EPISODE.instructions
    assert sentence(SentenceRule("unseen")) == "unseen"
    assert sentence(SentenceRule("unseen", fixed="mine")) == "mine"
    assert sentence(SentenceRule(shipped=(("open_laptop", ("shipped",)),))) == "shipped"


def test_pairs_draw_different_sentences_but_always_the_same():
    drawn = [sentence(SentenceRule("episode"), pair_id=str(number)) for number in range(40)]
    assert set(drawn) == set(EPISODE.instructions)
    assert drawn == [sentence(SentenceRule("episode"), pair_id=str(number)) for number in range(40)]


def test_templates_say_sentence_horizon_and_seconds():
    template = "{instruction} in {horizon} frames, {seconds} s"
    assert sentence(SentenceRule("task", template=template)) == "open laptop in 50 frames, 3 s"
    assert (
        sentence(SentenceRule("task", template="Scene after executing '{instruction}'."))
        == "Scene after executing 'open laptop'."
    )


@given(st.text(min_size=1))
def test_any_sentence_survives_the_template(text):
    """Braces in a sentence are letters, not fields."""
    assert fill_template("<{instruction}>", text, horizon=1, seconds=None) == f"<{text}>"


@pytest.mark.parametrize("template", ["{task}", "{instruction", "no field", "{0}"])
def test_a_malformed_template_is_refused_before_any_work(template):
    with pytest.raises(ValueError, match="template"):
        SentenceRule(template=template)


def test_what_the_episode_lacks_is_refused():
    with pytest.raises(UserError, match="comes without unseen instructions"):
        sentence(SentenceRule("unseen"), replace(EPISODE, notes={}))
    with pytest.raises(ValueError, match="--save-freq"):
        sentence(SentenceRule(template="{instruction} {seconds}"), replace(EPISODE, save_freq=None))


def test_shipped_sentences_are_read_by_task(tmp_path):
    with pytest.raises(UserError, match="data/instructions"):
        read_shipped_sentences(tmp_path)
    (tmp_path / "block_handover.json").write_text(json.dumps({"instructions": ["Hand it over.", "Pass it."]}))
    assert dict(read_shipped_sentences(tmp_path)) == {"block_handover": ("Hand it over.", "Pass it.")}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b'{"instructions": []}', b'{"instructions": [3]}'])
def test_malformed_sentence_files_are_named(tmp_path, content):
    (tmp_path / "task.json").write_bytes(content)
    with pytest.raises(UserError, match=r"task\.json"):
        read_shipped_sentences(tmp_path)
