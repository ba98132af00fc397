"""Laws of a data set that several processes predict: every pair once, in the batches of one process, one table."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from formats.pictures import open_picture
from formats.predictions_folder import SHARES, read_records
from formats.prepared_folder import read_manifest
from prediction.dataset import PredictedJob, jobs_of_pairs, predict_data_set
from prediction.sharing import Share

ROOT = Path(__file__).parents[2]


class Patient(Share):
    """Waits for nobody: its fellows have their turn before it or after it."""

    def wait(self):
        """Goes on."""


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shares_are_whole_batches_and_together_the_whole(world_size):
    items = list(range(11))
    shares = [Share(rank, world_size).choose(items, 2) for rank in range(world_size)]
    assert sorted(item for share in shares for item in share) == items
    batches = {tuple(items[i : i + 2]) for i in range(0, 11, 2)}
    assert {tuple(share[i : i + 2]) for share in shares for i in range(0, len(share), 2)} == batches


def test_records_of_all_processes_become_one_table_also_after_a_stop(pair_folder, tmp_path):
    folder = pair_folder()
    jobs = jobs_of_pairs(read_manifest(folder), folder, tmp_path, None, seed=7)[:5]

    def predict(todo):
        for job in todo:
            yield [PredictedJob(job, open_picture(job.source), np.full((4, 4, 3), 99, np.uint8), 0.5)]

    call = {"jobs": jobs, "folder": tmp_path, "settings": {"steps": 2}}
    predict_data_set(predict, **call, share=Patient(1, 2))
    assert (tmp_path / SHARES).is_dir(), "rank 0 has not come yet"
    assert set(read_records(tmp_path)) == {job.name for job in jobs[1::2]}
    assert predict_data_set(predict, **call) == 2, "what a stopped process did is not done again"
    assert not (tmp_path / SHARES).exists()
    assert [job.name for job in jobs[1::2]] == list(read_records(tmp_path))[:2]


def torchrun(processes: int, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = map(str, [*command, "edit_cli.py", *arguments])
    return subprocess.run(
        list(words), cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(pair_folder, tmp_path):
    """In batches of 2, also where they go on after a stop; pictures alone are refused."""
    data = pair_folder()
    ours = ["--input", data, "--split", "all", "--limit", 7, "--batch-size", 2, "--resolution", 128]
    for processes in (1, 2):
        result = torchrun(processes, *ours, "--output", tmp_path / str(processes))
        assert result.returncode == 0 and result.stdout.count("7 predictions in") == 1, result.stderr
    pictures = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.png"))
    assert len(pictures) == 7 and list(read_records(tmp_path / "1")) == list(read_records(tmp_path / "2"))
    (tmp_path / "2" / pictures[3]).unlink()
    result = torchrun(2, *ours, "--output", tmp_path / "2")
    assert "(6 were there)" in result.stdout, result.stderr
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in pictures)
    picture = read_manifest(data)[0].source_path(data)
    refused = torchrun(2, "--input", picture, "--edit", "stack blocks", "--output", tmp_path / "x.png")
    assert refused.returncode != 0 and "is no data set" in refused.stderr
