"""Text to token ids and back. Imports nothing of ours."""
