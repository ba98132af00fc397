"""Policies: ours, anybody's, and the server that lends one to another process."""
