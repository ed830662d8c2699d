"""What an answer may be: schemas, patterns and grammars, as masks of tokens."""
