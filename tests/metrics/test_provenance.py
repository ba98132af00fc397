import re

from metrics import provenance
from metrics.pairs import read_pairs
from metrics.predictions import match_predictions
from metrics.provenance import describe_systems, read_commit
from tests.metrics.conftest import moving_square


def test_commit_is_named_or_said_to_be_unknown(monkeypatch, tmp_path):
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|unknown", read_commit())
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_commit() == "unknown"


def test_settings_are_what_all_predictions_share(pair_folder, predict):
    data = pair_folder()
    output = predict(data, lambda pair: moving_square(7))
    (output / "predictions.jsonl").write_text(
        '{"pair_id": "a", "seed": 1, "steps": 8}\n{"pair_id": "b", "seed": 2, "steps": 8}\n'
    )
    described = describe_systems([match_predictions(output, read_pairs(data))])
    assert described["model"]["settings"] == {"steps": 8}
