"""Schedules of the learning rate."""

from .group_one_cycle_lr import GroupOneCycleLR

__all__ = [
    'GroupOneCycleLR',
]
