"""A run from its start to its end: checks, loops, precision, terminal, errors."""
