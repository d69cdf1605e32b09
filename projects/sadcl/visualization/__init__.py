"""Pictures of what a model does; matplotlib is imported only when one is drawn."""

from .attention import draw_attention, heat_map, overlay_attention, select_labels
from .comparison import describe_comparison, draw_comparison
from .cooccurrence import conditional_shares, cooccurrence_order, draw_cooccurrence
from .curves import draw_pr_curves, pr_curve, thin
from .embedding import (
    choose_points,
    draw_embeddings,
    frequent_groups,
    project_to_map,
    read_superclasses,
)
from .model_outputs import (
    has_label_embeddings,
    image_name,
    label_embeddings,
    load_model,
    predict_with_attention,
    seen_image,
    unsquash,
)
from .prototypes import cluster_order, cosine_matrix, draw_prototypes
from .report import picture_uri, prediction_data, render_page, select_mistakes
from .training import draw_training, read_log

__all__ = [
    'choose_points',
    'cluster_order',
    'conditional_shares',
    'cooccurrence_order',
    'cosine_matrix',
    'describe_comparison',
    'draw_attention',
    'draw_comparison',
    'draw_cooccurrence',
    'draw_embeddings',
    'draw_pr_curves',
    'draw_prototypes',
    'draw_training',
    'frequent_groups',
    'has_label_embeddings',
    'heat_map',
    'image_name',
    'label_embeddings',
    'load_model',
    'predict_with_attention',
    'overlay_attention',
    'picture_uri',
    'pr_curve',
    'prediction_data',
    'project_to_map',
    'read_log',
    'read_superclasses',
    'render_page',
    'seen_image',
    'select_labels',
    'select_mistakes',
    'thin',
    'unsquash',
]
