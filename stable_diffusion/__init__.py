"""Everything about published checkpoints: layouts, key names, loading, surgery."""
