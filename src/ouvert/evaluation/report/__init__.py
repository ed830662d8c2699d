"""Reports of a comparison: one page to read and print, the same shortened for a discussion, a notebook, a table."""
