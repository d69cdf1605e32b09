"""Heads that several methods share."""

from .label_embed_head import LabelEmbedHead

__all__ = ['LabelEmbedHead']
