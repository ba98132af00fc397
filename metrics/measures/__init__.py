"""Measures of one pair of pictures or of two sets."""
