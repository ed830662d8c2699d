"""What runs a model over sequences: NumPy, or the native program."""
