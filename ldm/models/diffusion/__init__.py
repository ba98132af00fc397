"""Noise schedule, conditioning, guidance, samplers and the models built of them."""
