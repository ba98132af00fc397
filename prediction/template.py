"""The form of the sentences that a model was trained on, such as "Scene after executing '{instruction}'."

A run's config keeps it under `instruction_template`; {horizon} stands for frames. Standard library only: nothing of
a template is evaluated, its two names are replaced.
"""

import re
from pathlib import Path

from commands.errors import UserError

NAMES = ("{instruction}", "{horizon}")
MAX_TEMPLATE = 1000  # letters


def check_template(template: object, path: Path) -> None:
    """Refuse what is no template.

    Raises:
        UserError: naming the config.
    """
    text = template if isinstance(template, str) and len(template) <= MAX_TEMPLATE else ""
    rest = text.replace(NAMES[0], "", 1).replace(NAMES[1], "", 1)
    if NAMES[0] not in text or "{" in rest:
        raise UserError(
            f"{path}: instruction_template is no text with {NAMES[0]}, and perhaps {NAMES[1]}, in it once; mend it, or "
            "set it to null in a config of your own and give that with --config."
        )


def fill_template(template: str, sentence: str, horizon: int | None) -> str:
    """The sentence in the template; one that has that form already stays as it is.

    Raises:
        UserError: if the template says how far ahead and the model's horizon is not known.
    """
    parts = re.split("(" + "|".join(map(re.escape, NAMES)) + ")", template)
    form = "".join(".+" if part in NAMES else re.escape(part) for part in parts)
    if re.fullmatch(form, sentence, flags=re.DOTALL):
        return sentence
    if horizon is None and NAMES[1] in template:
        raise UserError(
            f'the model was trained on sentences like "{template}", and its horizon varies: give the whole sentence.'
        )
    words = dict(zip(NAMES, (sentence, str(horizon)), strict=True))
    return "".join(words.get(part, part) for part in parts)
