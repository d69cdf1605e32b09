"""Transforms, registered in mmpretrain's TRANSFORMS."""
