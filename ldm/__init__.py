"""The library: networks, diffusion, losses, training data, training runs; knows no published weights."""
