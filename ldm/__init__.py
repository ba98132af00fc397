"""Latent diffusion for frame prediction: networks, diffusion, losses, training data. Knows no published weights."""
