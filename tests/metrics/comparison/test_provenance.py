from metrics.comparison.pairs import read_pairs
from metrics.comparison.predictions import match_predictions
from metrics.comparison.provenance import describe_systems
from tests.metrics.conftest import moving_square


def test_settings_are_what_all_predictions_share(pair_folder, predict):
    data = pair_folder()
    output = predict(data, lambda pair: moving_square(7))
    (output / "predictions.jsonl").write_text(
        '{"pair_id": "a", "seed": 1, "steps": 8}\n{"pair_id": "b", "seed": 2, "steps": 8}\n'
    )
    described = describe_systems([match_predictions(output, read_pairs(data))])
    assert described["model"]["settings"] == {"steps": 8}
