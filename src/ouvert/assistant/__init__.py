"""Conversation in, typed events out. May import engine, store, chat and tokenization."""
