"""Losses beyond the denoising loss."""
