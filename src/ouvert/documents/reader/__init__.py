"""A program of its own that reads one file in the box: `python -m ouvert.documents.reader read NAME < file > JSON`.

Nothing of it is imported by the rest but `shape`, which says what it writes.
"""
