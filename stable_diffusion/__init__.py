"""Everything about published checkpoints: where they are, their layouts, the names of their tensors."""
