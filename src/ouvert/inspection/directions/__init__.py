"""Directions of the residual stream: made from prompts, tested as causes, kept in files."""
