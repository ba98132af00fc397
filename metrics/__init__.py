"""Compares folders of frames, makes tables and figures; judges files, also those of other systems."""
