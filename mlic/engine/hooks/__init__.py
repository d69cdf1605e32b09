"""One hook a file, registered in mmpretrain's HOOKS."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .channels_last_hook import ChannelsLastHook
from .checkpoint_fit_hook import CheckpointFitHook
from .class_count_check_hook import ClassCountCheckHook
from .finite_loss_hook import FiniteLossHook, NonFiniteLossError
from .loader_check_hook import LoaderCheckHook
from .mid_epoch_resume_hook import MidEpochResumeHook
from .missed_validation_hook import MissedValidationHook
from .multi_label_visualization_hook import MultiLabelVisualizationHook
from .rank_buffers_hook import RankBuffersHook
from .seed_hook import SeedHook, seed_generators
from .stage_early_stopping_hook import StageEarlyStoppingHook
from .stage_restart_hook import StageRestartHook

__all__ = [
    'AtomicCheckpointHook',
    'ChannelsLastHook',
    'CheckpointFitHook',
    'ClassCountCheckHook',
    'FiniteLossHook',
    'LoaderCheckHook',
    'MidEpochResumeHook',
    'MissedValidationHook',
    'MultiLabelVisualizationHook',
    'NonFiniteLossError',
    'RankBuffersHook',
    'SeedHook',
    'StageEarlyStoppingHook',
    'StageRestartHook',
    'seed_generators',
]
