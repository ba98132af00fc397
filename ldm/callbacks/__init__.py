"""Lightning callbacks: checkpoints, pictures, meters, the run's record."""
