"""Episodes to a prepared folder: pairing, splits, sentences, plan, conversion."""
