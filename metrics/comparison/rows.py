"""Names and kinds of the rows of a table.

How a row is treated depends on its kind, never on its name: an upper bound is made from the truth, so it does not
compete; a copy and a baseline come from no model.
"""

from typing import Literal

from commands.errors import UserError

Kind = Literal["copy", "baseline", "upper bound", "model"]
COPY_KIND, BASELINE, UPPER_BOUND, MODEL = "copy", "baseline", "upper bound", "model"
TRUTH = "truth"
COPY, MEAN, NEAREST = "copy the input", "mean of training targets", "target of the nearest training input"
RECONSTRUCTION = "reconstruction"  # of the truth by a first stage
BOUND_ENDING = "(upper bound)"  # ends such a row's name
RESERVED = {COPY: COPY_KIND, MEAN: BASELINE, NEAREST: BASELINE, TRUTH: UPPER_BOUND, "input": None}


def check_row_name(name: str) -> str:
    """The name that a user gives a row, if no other row and no column of the grid has it.

    Raises:
        UserError: if it is empty, or one of RESERVED.
    """
    if not name.strip() or name.strip().lower() in RESERVED:
        raise UserError(
            f"a predictions row cannot be called '{name}', which the table's own rows are: choose another name, "
            "--predictions model=<folder>."
        )
    return name


def kind_by_name(name: str) -> Kind:
    """Kind of a row of a table.json that was written before rows had one."""
    if name.endswith(BOUND_ENDING):
        return UPPER_BOUND
    return RESERVED.get(name) or MODEL
