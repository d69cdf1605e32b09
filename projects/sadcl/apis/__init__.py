"""Prediction: models from checkpoints, images from wherever they are, pictures of the result."""

from .drawing import draw_prediction
from .image_sources import collect_images
from .inferencer import MultiLabelInferencer
from .score_model import ScoreModel, describe_input, input_size
from .stored_config import for_prediction, load_predictor, read_stored_config

__all__ = [
    'MultiLabelInferencer',
    'ScoreModel',
    'collect_images',
    'describe_input',
    'draw_prediction',
    'for_prediction',
    'input_size',
    'load_predictor',
    'read_stored_config',
]
