"""Suites: what is asked, how it is scored. Each has a card of facts, cards/NAME.toml, and a module that makes it."""
