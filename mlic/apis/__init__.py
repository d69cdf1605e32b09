"""Open a run, predict, export."""

from .export import ScoreModel, describe_input, input_size
from .image_sources import collect_images
from .inferencer import MultiLabelInferencer
from .model_outputs import check_label_embeddings, label_embeddings, predict_with_attention
from .open_run import OpenRun, open_run
from .prediction import Prediction
from .stored_config import read_stored_config

__all__ = [
    'MultiLabelInferencer',
    'OpenRun',
    'Prediction',
    'ScoreModel',
    'check_label_embeddings',
    'collect_images',
    'describe_input',
    'input_size',
    'label_embeddings',
    'open_run',
    'predict_with_attention',
    'read_stored_config',
]
