"""The committed seeds are what the protocol says, and nobody's training scenes."""

import pytest

from commands.errors import UserError
from dataset_tools.simulation import LARGEST_EPISODE, LARGEST_FIRST_SEED, MOST_ATTEMPTS, SEEDS_PER_EPISODE
from simulator.recorder import simulate
from simulator.seeds import COUNT, FIRST, read_seeds
from simulator.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_every_list_is_whole_and_apart(task):
    """20 to choose by, 100 for the table, none in both, none that training can reach."""
    val, test = read_seeds(task, "val"), read_seeds(task, "test")
    assert (len(set(val)), len(set(test))) == (COUNT["val"], COUNT["test"]) and not set(val) & set(test)
    last = SEEDS_PER_EPISODE * LARGEST_EPISODE + LARGEST_FIRST_SEED + MOST_ATTEMPTS
    assert last <= FIRST["val"] <= min(val) <= max(val) < FIRST["test"] <= min(test)
    assert list(val) == sorted(val) and list(test) == sorted(test)


def test_the_script_solves_a_committed_seed():
    assert simulate("block_hammer_beat", read_seeds("block_hammer_beat", "test")[7], save_freq=500).success


def test_names_that_are_not_there_are_refused():
    with pytest.raises(UserError, match="no seeds of a task 'juggle'"):
        read_seeds("juggle", "val")
    with pytest.raises(UserError, match="no seeds 'train'"):
        read_seeds("block_handover", "train")
