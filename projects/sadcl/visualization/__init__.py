"""Pictures of what a model does; matplotlib is imported only when one is drawn."""

from .attention import draw_attention, heat_map, overlay_attention, select_labels
from .prototypes import cluster_order, cosine_matrix, draw_prototypes

__all__ = [
    'cluster_order',
    'cosine_matrix',
    'draw_attention',
    'draw_prototypes',
    'heat_map',
    'overlay_attention',
    'select_labels',
]
