"""Heads that several methods share."""
