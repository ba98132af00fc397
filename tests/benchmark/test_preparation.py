"""Laws of measuring: both ways see the same frames, and the share is that of the medians."""

from benchmark.__main__ import main
from benchmark.preparation import BARE, PREPARATION, make_table, recode_jpegs, store_jpegs
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options, plan_folder


def test_both_rates_are_printed_in_one_run(episodes_folder, capsys):
    arguments = ["preparation", "--episodes", str(episodes_folder(count=1)), "--workers", "1", "--rounds", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert BARE in printed and PREPARATION in printed and "100%" in printed


def test_the_share_is_that_of_the_medians():
    table = make_table({BARE: [100.0, 900.0, 200.0], PREPARATION: [50.0, 100.0, 120.0]}, workers=2)
    assert list(table.columns[2].cells) == ["100%", "50%"]


def test_the_bare_way_recodes_every_frame(episode):
    (part,) = plan_folder([episode(length=4)], Options(PairingRule(horizons=(1,))), []).parts
    contents = store_jpegs(part)
    assert len(contents) == 4 and recode_jpegs(contents) > 0


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert main(["preparation", "--episodes", str(tmp_path)]) == 2
    assert "no episodes under" in capsys.readouterr().err
