"""Readers: a folder of episodes, whatever wrote it, to a list of Episode."""
