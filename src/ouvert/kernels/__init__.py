"""The operations of `arithmetic`, fast on a CPU: checked wrappers over C++. May import arithmetic only."""
