"""Backbones, low-rank updates of others, and a place for stored features."""
