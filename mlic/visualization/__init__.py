"""Numbers in, figures out. What configs name is imported here; matplotlib when one is drawn."""

from .multi_label_visualizer import MultiLabelVisualizer
from .vis_backends import TensorboardVisBackend, WandbVisBackend

__all__ = ['MultiLabelVisualizer', 'TensorboardVisBackend', 'WandbVisBackend']
