"""Templates that users and data sets bring: {name} and {name:03d} filled, and nothing else. Standard library only.

str.format alone would also take {name.__class__} and a width of ten billion letters.
"""

import re
import string
from collections.abc import Mapping

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
