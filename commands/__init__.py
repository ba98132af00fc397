"""How every command behaves: one sentence and exit code 2, progress, workers that end with their parent."""
