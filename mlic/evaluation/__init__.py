"""Evaluation: one streaming metric, the protocols it knows, thresholds and prediction files."""

from .mlic_metric import MLICMetric
from .predictions import read_predictions
from .protocols import PROTOCOLS, Protocol
from .summary import Report, evaluate_block
from .thresholds import fit_thresholds, read_thresholds

__all__ = [
    'MLICMetric',
    'PROTOCOLS',
    'Protocol',
    'Report',
    'evaluate_block',
    'fit_thresholds',
    'read_predictions',
    'read_thresholds',
]
