import json

from metrics.comparison.notes import note_remarks
from metrics.comparison.scoring import PairScore
from tests.metrics.comparison.test_compare import run_comparison


def _score(row: str, *remarks: str) -> PairScore:
    return PairScore(row, "p", "g", ("g", 0), {}, remarks)


def test_remarks_are_counted_by_row():
    scores = [_score("a", "greyscale"), _score("a"), _score("b", "greyscale", "16-bit, rounded to 8")]
    assert note_remarks(scores) == [
        "a: 1 of 2 pictures: greyscale.",
        "b: 1 of 1 pictures: 16-bit, rounded to 8.",
        "b: 1 of 1 pictures: greyscale.",
    ]


def test_notes_speak_only_of_what_the_table_has(pair_folder):
    data = pair_folder()
    plain = " ".join(run_comparison("--data", data, "--measures", "psnr").table.notes)
    assert "motion" not in plain and "As published" not in plain and "own size" in plain
    full = ("--measures", "psnr_motion,ms_ssim,block_error,psnr_as_published", "--size", "16")
    said = " ".join(run_comparison("--data", data, *full).table.notes)
    for words in (
        "more than 20 of 255",
        "48.13 dB",
        "not defined below 176x176",
        "blocks lost",
        "16x16 (not resized)",
    ):
        assert words in said


def test_a_leaky_split_is_said_under_every_table(pair_folder):
    """A split by pair puts near-twins of test frames into training; nobody may overlook it."""
    data = pair_folder()
    index = data / "index.jsonl"
    honest = index.read_text()
    entries = [json.loads(line) | {"split_rule": "leaky"} for line in honest.splitlines()]
    assert "LEAKY" not in " ".join(run_comparison("--data", data, "--measures", "psnr").table.notes)
    index.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert "LEAKY split" in " ".join(run_comparison("--data", data, "--measures", "psnr").table.notes)
