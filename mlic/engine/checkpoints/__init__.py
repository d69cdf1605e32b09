"""Checkpoints: written whole, read without running code, found, compared with a model."""
