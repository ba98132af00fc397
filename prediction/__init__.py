"""A trained model at work: from pictures and sentences to pictures, or to actions."""
