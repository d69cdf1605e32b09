"""Pictures of what a model does; matplotlib is imported only when one is drawn."""

from .attention import draw_attention, heat_map, overlay_attention, select_labels

__all__ = ['draw_attention', 'heat_map', 'overlay_attention', 'select_labels']
