"""Bricks: take numbers and tensors, know neither Lightning nor configs."""
