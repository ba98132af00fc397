"""Reports of runs: figures, pages, the papers' printed numbers."""
