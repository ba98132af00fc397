"""What lies on disk between the parts: prepared pairs and episodes, predictions, runs, rollouts, pictures, video."""
