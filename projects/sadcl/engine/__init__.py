"""What the Runner lacks: stages, schedule, CPU start-up."""

from .autocast_wrapper import AutocastOptimWrapper
from .launch import adapt_to_device, check_data, find_checkpoint
from .one_cycle import GroupOneCycleLR
from .prototype_hook import PrototypeHook, class_means
from .stage_stop_hook import StageEarlyStoppingHook

__all__ = [
    'AutocastOptimWrapper',
    'GroupOneCycleLR',
    'PrototypeHook',
    'StageEarlyStoppingHook',
    'adapt_to_device',
    'check_data',
    'class_means',
    'find_checkpoint',
]
