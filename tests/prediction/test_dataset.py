"""Laws of the predictions folder: whole, resumable, and never mixed."""

import json

import numpy as np
import pytest
from PIL import Image

from commands.errors import UserError
from formats.pictures import open_picture
from formats.prepared_folder import read_manifest
from prediction.dataset import (
    METADATA_KEY,
    PredictedJob,
    jobs_of_pairs,
    predict_batches,
    predict_data_set,
    read_records,
    save_picture,
)
from prediction.predictor import seed_of

SETTINGS = {"steps": 2, "interval": [0.0, 5.0]}


@pytest.fixture
def jobs(pair_folder, tmp_path):
    folder = pair_folder()
    return jobs_of_pairs(read_manifest(folder, "test"), folder, tmp_path / "out", None, seed=7)


def stub_batches(done):
    """Predicts grey, and notes what it was asked for."""

    def predict(todo):
        for job in todo:
            done.append(job.name)
            yield [PredictedJob(job, open_picture(job.source), np.full((4, 4, 3), 99, np.uint8), 0.5)]

    return predict


def test_jobs_carry_the_pairs_own_sentence_seed_and_truth(jobs):
    job = jobs[0]
    assert job.instruction == "move the square" and job.seed == seed_of(job.name, 7)
    assert job.truth.is_file() and job.source.is_file() and job.source != job.truth


def test_records_say_how_each_picture_was_made(jobs, tmp_path):
    predict_data_set(stub_batches([]), jobs, tmp_path / "out", SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["pair_id"] for line in lines] == [job.name for job in jobs]
    assert lines[0] == lines[0] | SETTINGS | {"seed": jobs[0].seed, "seconds": 0.5}
    assert 0 < lines[0]["peak_memory_mib"] <= lines[-1]["peak_memory_mib"]
    with Image.open(tmp_path / "out" / lines[0]["file"]) as picture:
        assert picture.getpixel((0, 0)) == (99, 99, 99)
        assert json.loads(picture.text[METADATA_KEY])["steps"] == 2


def test_an_interrupted_call_is_taken_up_where_it_was(jobs, tmp_path):
    """Also when a picture is gone, or the last line was of another sentence."""
    done = []
    predict_data_set(stub_batches(done), jobs[:2], tmp_path / "out", SETTINGS)
    assert predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS) == 2
    assert done == [job.name for job in jobs]
    jobs[1].target.unlink()
    done.clear()
    predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS)
    assert done == [jobs[1].name]
    assert len(read_records(tmp_path / "out" / "predictions.jsonl", SETTINGS)) == len(jobs)


def test_a_picture_that_changed_under_its_name_is_predicted_again(jobs, tmp_path):
    """A folder prepared again keeps its pair ids."""
    done = []
    predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS)
    Image.new("RGB", (16, 16)).save(jobs[1].source)
    done.clear()
    assert predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS) == len(jobs) - 1
    assert done == [jobs[1].name]


def test_a_folder_made_with_other_settings_is_refused(jobs, tmp_path):
    predict_data_set(stub_batches([]), jobs[:1], tmp_path / "out", SETTINGS)
    with pytest.raises(UserError, match=r"steps=2, now it is 3; choose another --output"):
        predict_data_set(stub_batches([]), jobs, tmp_path / "out", SETTINGS | {"steps": 3})


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "predictions.jsonl").write_text('{"pair_id": "a"}\n{"pair')
    with pytest.raises(UserError, match="line 2 is damaged"):
        read_records(tmp_path / "predictions.jsonl", {})


def test_batches_keep_order_and_size(jobs):
    class Predictor:
        resolution = 8

        def predict(self, frames, sentences, seeds, horizon, *, progress):
            return frames

    batches = list(predict_batches(Predictor(), jobs, 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [item.job for batch in batches for item in batch] == jobs
    expected = open_picture(jobs[0].source).squared(8)
    assert np.array_equal(batches[0][0].frame, expected)


def test_other_formats_are_written_without_a_record(tmp_path):
    save_picture(tmp_path / "a.jpg", Image.new("RGB", (4, 4)), {"a": 1})
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"
