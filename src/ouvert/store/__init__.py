"""Models on this machine: fetch, verify, list, remove. May import weights."""
