"""A config before its run: what is wrong with it, and how it is adapted to the machine."""
