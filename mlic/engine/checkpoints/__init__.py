"""Checkpoints: written whole, read without running code, found, compared with a model."""

from .reading import CheckpointError, install_safe_loading, read_checkpoint
from .search import FoundCheckpoint, find_checkpoint, find_resumable
from .writing import CheckpointWriteError, atomic_write

__all__ = [
    'CheckpointError',
    'CheckpointWriteError',
    'FoundCheckpoint',
    'atomic_write',
    'find_checkpoint',
    'find_resumable',
    'install_safe_loading',
    'read_checkpoint',
]
