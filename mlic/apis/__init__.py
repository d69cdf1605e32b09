"""Open a run, predict, export."""

from .export import ScoreModel, describe_input, input_size
from .image_sources import collect_images
from .inferencer import MultiLabelInferencer
from .model_outputs import (
    has_label_embeddings,
    label_embeddings,
    load_model,
    predict_with_attention,
)
from .predictor import for_prediction, load_predictor, read_stored_config

__all__ = [
    'MultiLabelInferencer',
    'ScoreModel',
    'collect_images',
    'describe_input',
    'for_prediction',
    'has_label_embeddings',
    'input_size',
    'label_embeddings',
    'load_model',
    'load_predictor',
    'predict_with_attention',
    'read_stored_config',
]
