"""Laws of templates: one filler for data sets and for the sentences that a model was trained on."""

import pytest

from commands.errors import UserError
from formats.templates import check_template, fill_fields, fill_once


@pytest.mark.parametrize("template", ["{a.real}", "{a:99999999999}", "{a!r}", "{b}", "{", "x" * 10_001])
def test_only_known_fields_of_modest_width_are_filled(template, tmp_path):
    assert fill_fields("{{{a:03d}}}", {"a": 7}) == "{007}"
    with pytest.raises(UserError, match="is malformed"):
        fill_fields(template, {"a": 7})
    with pytest.raises(UserError, match="instruction_template is no text"):
        check_template("{instruction}" + template, tmp_path)


def test_a_sentence_gets_the_form_once():
    """As the data were prepared, with padded numbers too."""
    form = "In {horizon:03d} frames: {instruction}"
    assert fill_once(form, "go", 7) == "In 007 frames: go" == fill_once(form, "In 007 frames: go", None)
