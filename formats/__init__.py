"""What lies on disk between the parts: prepared folders, predictions, runs, pictures, video. No torch."""
