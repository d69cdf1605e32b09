"""A run from its start to its end: device, checks, terminal, errors."""
