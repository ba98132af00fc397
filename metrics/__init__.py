"""Judges folders of predictions and of rollouts, anybody's: measures, tables, figures, the papers' numbers."""
