"""The old name of a command says the new one."""

from dataset_tools import simulator


def test_the_old_name_says_the_new_one(capsys):
    assert simulator.main() == 2
    assert "python -m dataset_tools.simulate" in capsys.readouterr().err
