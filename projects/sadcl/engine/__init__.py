"""What the Runner lacks: stages, schedule, CPU start-up."""

from .autocast_wrapper import AutocastOptimWrapper
from .class_check_hook import ClassCountCheckHook
from .launch import adapt_to_device, check_data, find_checkpoint
from .one_cycle import GroupOneCycleLR
from .prototype_hook import PrototypeHook, build_prototype_loader, class_means
from .published_weights import check_complete, convert_state_dict, revert_state_dict
from .stage_stop_hook import StageEarlyStoppingHook

__all__ = [
    'AutocastOptimWrapper',
    'ClassCountCheckHook',
    'GroupOneCycleLR',
    'PrototypeHook',
    'StageEarlyStoppingHook',
    'adapt_to_device',
    'build_prototype_loader',
    'check_complete',
    'check_data',
    'class_means',
    'convert_state_dict',
    'find_checkpoint',
    'revert_state_dict',
]
