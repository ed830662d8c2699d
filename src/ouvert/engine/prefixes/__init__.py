"""Beginnings of sequences that are kept: in memory, and on disk across restarts."""
