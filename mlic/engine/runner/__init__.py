"""A run from its start to its end: device, checks, terminal, errors."""

from .class_means import build_prototype_loader, class_means
from .console import ConsoleRunner
from .data_check import check_data
from .device import adapt_to_device
from .errors import one_line_errors
from .launch_checks import LaunchError, check_launch, scale_for_accumulation

__all__ = [
    'ConsoleRunner',
    'LaunchError',
    'adapt_to_device',
    'build_prototype_loader',
    'check_data',
    'check_launch',
    'class_means',
    'one_line_errors',
    'scale_for_accumulation',
]
