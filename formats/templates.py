"""Templates from users, data sets and runs: only {name} and {name:03d} are filled.

str.format alone would also take {name.__class__} and a width of ten billion letters. A run's config keeps the form of
the sentences that its model was trained on, such as "Scene after executing '{instruction}'.", under
`instruction_template`; {horizon} is in frames.
"""

import re
import string
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from commands.errors import UserError

SPEC = re.compile(r"(0?[0-9]{1,2}d?)?")  # of a number: padded to at most 99 letters
LONGEST = 10_000  # letters of a template


def fill_fields(template: str, values: Mapping[str, object]) -> str:
    """The template with its fields replaced; {{ and }} stand for braces.

    Raises:
        UserError: if it is malformed, asks for another field, or a value is None.
    """
    try:
        if len(template) > LONGEST:
            raise ValueError(f"{len(template)} letters")
        for _, name, spec, conversion in string.Formatter().parse(template):
            if name is None:
                continue
            if name not in values or conversion or not SPEC.fullmatch(spec):
                raise ValueError(f"a field {{{name[:40]}{':' + spec[:40] if spec else ''}}}")
            if values[name] is None:
                raise ValueError(f"{{{name}}} is unknown")
        return template.format(**values)
    except ValueError as error:
        shown = template if len(template) <= 80 else template[:80] + "..."
        known = ", ".join(f"{{{name}}}" for name in values)
        raise UserError(f"template '{shown}' is malformed ({error}); it may say {known}.") from error


def check_template(template: object, path: Path) -> None:
    """Refuse an `instruction_template` that no sentence can be put into.

    Raises:
        UserError: naming the config at `path`.
    """
    names: list[str | None] = []
    if isinstance(template, str):
        with suppress(UserError):
            fill_fields(template, {"instruction": "", "horizon": 1})
            names = [name for _, name, _, _ in string.Formatter().parse(template)]
    if names.count("instruction") != 1 or names.count("horizon") > 1:
        raise UserError(
            f"{path}: instruction_template is no text with {{instruction}}, and perhaps {{horizon}}, in it once; mend "
            "it, or set it to null in a config of your own and give that with --config."
        )


def fill_once(template: str, sentence: str, horizon: int | None) -> str:
    """The sentence in a checked template; one that has that form already stays as it is.

    Raises:
        UserError: if the template says how far ahead and the model's horizon is not known.
    """
    pieces = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
    form = "".join(re.escape(literal) + (".+" if name else "") for literal, name in pieces)
    if re.fullmatch(form, sentence, flags=re.DOTALL):
        return sentence
    if horizon is None and any(name == "horizon" for _, name in pieces):
        raise UserError(
            f'the model was trained on sentences like "{template}", and its horizon varies: give the whole sentence.'
        )
    return fill_fields(template, {"instruction": sentence, "horizon": 0 if horizon is None else horizon})
