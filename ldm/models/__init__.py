"""First stages and diffusion models."""
