"""A page for the browser."""
