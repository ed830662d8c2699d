"""Engines of other processes and machines, spoken to over HTTP with token ids. docs/formats/engine-http.md."""
