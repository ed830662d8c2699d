"""The operations a transformer is made of, in NumPy, written to be read. Imports nothing of ours."""
