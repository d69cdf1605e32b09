"""Numbers in, figures out. What configs name is imported here; matplotlib when one is drawn."""

from .vis_backends import TensorboardVisBackend, WandbVisBackend

__all__ = ['TensorboardVisBackend', 'WandbVisBackend']
