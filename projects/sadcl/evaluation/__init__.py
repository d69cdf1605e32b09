"""Evaluation: one streaming metric and the protocols it knows."""

from .mlic_metric import MLICMetric
from .protocols import PROTOCOLS, Protocol

__all__ = ['PROTOCOLS', 'MLICMetric', 'Protocol']
