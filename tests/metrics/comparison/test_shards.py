"""Laws of shares: put together they are the measurement of one process, to the byte; none may be absent or stale."""

from pathlib import Path

import pytest

from commands.errors import MissingFileError, UserError
from metrics.comparison.compare import compare, score_shard
from metrics.comparison.shards import read_shards
from metrics.comparison.table_formats import to_csv, to_json, to_markdown
from metrics.compute_metrics import main, read_request
from metrics.reports.comparison_files import pair_line
from tests.metrics.conftest import moving_square


def texts(comparison):
    """All text that a comparison is written as."""
    pairs = {pair.pair_id: pair for pair in comparison.pairs}
    lines = [pair_line(score, pairs[score.pair_id]) for score in comparison.scores]
    return to_csv(comparison.table), to_json(comparison.table), to_markdown(comparison.table), lines


def test_shares_put_together_give_the_bytes_of_one_measurement(pair_folder, predict, tmp_path):
    """Also where a row has no prediction, and where a value is infinite."""
    data, train, output = pair_folder(), pair_folder("train", split="train", first=3), tmp_path / "o"
    model = predict(data, lambda pair: moving_square(pair.episode % 3 + 7) if pair.episode else None)
    ours = ["--data", data, "--split", "test", "--predictions", model, "--train-data", train, "--output", output]
    ours = [*map(str, ours), "--no-cache"]
    request, merged = read_request(ours)[0], read_request([*ours, "--merge"])[0]
    with pytest.raises(MissingFileError, match=r"holds no shares; .* --shard 0/2 and 1/2 before --merge"):
        compare(merged)
    score_shard(request, (1, 2), output)
    with pytest.raises(MissingFileError, match=r"0-of-2.jsonl is absent: run --shard 0/2 first"):
        compare(merged)
    score_shard(request, (0, 2), output)
    assert texts(compare(merged)) == texts(whole := compare(request))
    Path(model, f"{whole.pairs[1].pair_id}.png").touch()
    with pytest.raises(UserError, match=r"'model' of block_hammer_beat/1/0-50 was measured on other pictures"):
        read_shards(output, compare(request).scorer, whole.pairs)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--merge"], "need --output"), (["--merge", "--shard", "0/2", "--output", "o"], "first every --shard")],
)
def test_flags_of_shares_that_contradict_are_said(flags, message, pair_folder, capsys):
    assert main(["--data", str(pair_folder(num_episodes=1)), *flags]) == 2
    assert message in capsys.readouterr().err
