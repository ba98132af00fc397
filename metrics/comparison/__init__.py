"""A comparison: pairs, predictions, baselines, scores, tables."""
