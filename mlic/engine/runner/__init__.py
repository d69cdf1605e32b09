"""A run from its start to its end: device, checks, terminal, errors."""

from .console import ConsoleRunner
from .data_check import check_data
from .device import adapt_to_device
from .errors import one_line_errors
from .launch_checks import LaunchError, check_launch, scale_for_accumulation

__all__ = [
    'ConsoleRunner',
    'LaunchError',
    'adapt_to_device',
    'check_data',
    'check_launch',
    'one_line_errors',
    'scale_for_accumulation',
]
