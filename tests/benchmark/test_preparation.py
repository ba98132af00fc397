"""Laws of measuring: both ways see the same frames, and the share is that of the medians."""

from benchmark.__main__ import main
from benchmark.preparation import BARE, PREPARATION, make_table


def test_both_rates_are_printed_in_one_run(episodes_folder, capsys):
    arguments = ["preparation", "--episodes", str(episodes_folder(count=1)), "--workers", "1", "--rounds", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert BARE in printed and PREPARATION in printed and "100%" in printed


def test_the_share_is_that_of_the_medians():
    table = make_table({BARE: [100.0, 900.0, 200.0], PREPARATION: [50.0, 100.0, 120.0]}, workers=2)
    assert list(table.columns[2].cells) == ["100%", "50%"]
