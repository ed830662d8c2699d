"""Receipts of answers: written, kept in a ledger, and answered again."""
