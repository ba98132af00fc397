"""A training run: its config, its checks, the dry run, the launcher."""
