"""Text encoders; the one door to transformers and open_clip."""
