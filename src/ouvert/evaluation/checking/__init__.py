"""The check that follows tuning: the same questions before and after, and whether anything got worse."""
