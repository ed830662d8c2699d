"""Tensors on disk and their encodings. Imports nothing of ours."""
