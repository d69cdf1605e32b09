"""A user's own images: labels, splits and config."""
