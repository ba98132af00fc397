"""Laws of the look-up: the nearest first, never of one's own episode, of one's own sentence where there is one."""

from dataclasses import replace

import pytest
import torch

from commands.errors import MissingFileError, UserError
from formats.prepared_folder import read_manifest, write_manifest
from ldm.data.frame_pairs import FramePairDataset, collate, read_pair_picture
from ldm.data.neighbours import Neighbours

NODE = "ldm.data.neighbours.Neighbours"


@pytest.fixture
def folder(pair_folder):
    """Four episodes of the same moving square; those of the second and the fourth are told otherwise."""
    made = pair_folder()
    pairs = read_manifest(made)
    write_manifest(made, [replace(p, instruction=f"{p.instruction} {p.episode % 2}") for p in pairs], {})
    return made


def look_up(folder, frame, sentence, episode=None):
    picture = read_pair_picture(folder / f"{frame:07d}" / f"{frame:06d}_0.png")  # of the first episode
    ranked = Neighbours(folder, None, 2).rank(picture, sentence, episode)
    return [pair.pair_id for pair in ranked]


def test_the_nearest_come_first_and_the_own_episode_is_left_out(folder):
    found = look_up(folder, 2, "move the square 0")
    assert found[:2] == ["square/0/2-5", "square/2/2-5"] and len(found) == 10
    assert {*found[2:6]} == {f"square/{e}/{s}-{s + 3}" for e in (0, 2) for s in (1, 3)}
    others = look_up(folder, 2, "move the square 0", ("square", 0))
    assert others[0] == "square/2/2-5" and not [name for name in others if name.startswith("square/0")]


def test_a_sentence_that_nobody_says_is_looked_up_among_all(folder):
    assert len(look_up(folder, 2, "go home")) == 20
    with pytest.raises(UserError, match="no pairs of other episodes"):
        Neighbours(folder, "test", 1).rank(read_pair_picture(folder / "0000000" / "000000_0.png"), "x", ("square", 3))


def test_absent_pairs_are_said_with_what_they_are_for(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"looks up training pairs, and .*x holds none .* neighbours.params.folder"
    ):
        Neighbours(tmp_path / "x", None, 1).settings()


def test_skipped_pairs_are_passed_over_while_enough_are_left(folder):
    near = Neighbours(folder, None, 2)
    ranked = near.pairs[:4]

    def frames(*skip):
        read = near.read(ranked, 16, torch.tensor(skip, dtype=torch.bool))
        return [next(i for i in range(4) if torch.equal(read[k], near.read(ranked[i:], 16)[0])) for k in (0, 2)]

    assert frames(0, 0, 0, 0) == [0, 1] and frames(1, 0, 1, 0) == [1, 3] and frames(1, 1, 1, 0) == [2, 3]
    assert torch.equal(near.read(ranked[:1], 16)[:2], near.read(ranked[:1], 16)[2:]), "repeated, where there is one"


def test_a_sample_comes_with_its_neighbours_augmented_as_it_is(folder):
    """A mirrored pair has mirrored neighbours: here the same picture, of another episode."""
    augmented = {"target": "ldm.data.transforms.PairedAugmentation", "params": {"flip": 1.0}}
    node = {"target": NODE, "params": {"folder": str(folder), "split": None, "count": 1}}
    data = FramePairDataset(folder, "train", 16, augmentation_config=augmented, neighbours_config=node)
    batch = collate([data[0], data[7]])
    assert batch["neighbour_frames"].shape == (2, 2, 3, 16, 16)
    assert torch.equal(batch["neighbour_frames"][:, 0], batch["source_frame"])
    assert torch.equal(batch["neighbour_frames"][:, 1], batch["target_frame"])
    plain = FramePairDataset(folder, "train", 16)[0]["source_frame"]
    assert torch.equal(batch["source_frame"][0], plain.flip(-1)) and not torch.equal(plain, plain.flip(-1))
