"""Models that predict video and act."""
