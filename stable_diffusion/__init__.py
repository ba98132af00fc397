"""Everything about published checkpoints: layouts, names of tensors, loading, conversion."""
