"""What the Runner lacks: stages, schedule, CPU start-up, files that are not trusted."""

from .atomic_checkpoint import AtomicCheckpointHook, CheckpointWriteError, atomic_write
from .autocast_wrapper import AutocastOptimWrapper
from .checkpoint_fit import CheckpointFitHook
from .checkpoint_io import CheckpointError, install_safe_loading, read_checkpoint
from .checkpoint_search import find_checkpoint, find_resumable
from .class_check_hook import ClassCountCheckHook
from .console import ConsoleRunner
from .finite_loss import FiniteLossHook, NonFiniteLossError
from .launch import adapt_to_device, check_data, one_line_errors
from .launch_checks import LaunchError, check_launch, scale_for_accumulation
from .one_cycle import GroupOneCycleLR
from .prototype_hook import PrototypeHook, build_prototype_loader, class_means
from .published_weights import check_complete, convert_state_dict, revert_state_dict
from .rank_buffers import RankBuffersHook
from .reproducibility import SeedHook, seed_generators
from .resume_hooks import MidEpochResumeHook, MissedValidationHook
from .speed_hooks import ChannelsLastHook, LoaderCheckHook
from .stage_stop_hook import StageEarlyStoppingHook

install_safe_loading()

__all__ = [
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'ChannelsLastHook',
    'CheckpointError',
    'CheckpointWriteError',
    'CheckpointFitHook',
    'ClassCountCheckHook',
    'ConsoleRunner',
    'FiniteLossHook',
    'GroupOneCycleLR',
    'LaunchError',
    'LoaderCheckHook',
    'MidEpochResumeHook',
    'MissedValidationHook',
    'NonFiniteLossError',
    'PrototypeHook',
    'RankBuffersHook',
    'SeedHook',
    'StageEarlyStoppingHook',
    'adapt_to_device',
    'atomic_write',
    'build_prototype_loader',
    'check_complete',
    'check_data',
    'check_launch',
    'class_means',
    'convert_state_dict',
    'find_checkpoint',
    'find_resumable',
    'install_safe_loading',
    'one_line_errors',
    'read_checkpoint',
    'revert_state_dict',
    'scale_for_accumulation',
    'seed_generators',
]
