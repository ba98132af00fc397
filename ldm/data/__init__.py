"""Prepared folders to training batches. Never imports networks."""
