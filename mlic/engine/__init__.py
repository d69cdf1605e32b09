"""What the Runner lacks: hooks, schedule, CPU start-up, files that are not trusted."""

from mmpretrain.registry import MODEL_WRAPPERS
from torch.nn.parallel import DistributedDataParallel

from .annotation_files import UntrustedFileError, install_safe_handlers
from .checkpoints.reading import CheckpointError, install_safe_loading, read_checkpoint
from .checkpoints.search import FoundCheckpoint, find_checkpoint, find_resumable
from .config.device import adapt_to_device
from .config.launch_checks import LaunchError, check_launch, scale_for_accumulation
from .hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from .hooks.class_count_check_hook import ClassCountCheckHook
from .hooks.class_info_hook import ClassInfoHook
from .hooks.deferred_info_hook import DeferredInfoHook
from .hooks.early_logger_hook import EarlyLoggerHook
from .hooks.finite_loss_hook import FiniteLossHook, NonFiniteLossError
from .hooks.foreach_ema_hook import ForeachEMAHook
from .hooks.label_check_hook import LabelCheckHook
from .hooks.loader_check_hook import LoaderCheckHook
from .hooks.mid_epoch_resume_hook import MidEpochResumeHook
from .hooks.missed_validation_hook import MissedValidationHook
from .hooks.multi_label_visualization_hook import MultiLabelVisualizationHook
from .hooks.rank_buffers_hook import RankBuffersHook
from .hooks.seed_hook import SeedHook, seed_generators
from .hooks.stage_early_stopping_hook import StageEarlyStoppingHook
from .hooks.stage_restart_hook import StageRestartHook
from .hooks.teachers_hook import TeachersHook
from .optimizers.autocast_optim_wrapper import AutocastOptimWrapper
from .optimizers.shared_groups_constructor import SharedGroupsConstructor
from .runner.class_means import build_prototype_loader, class_means
from .runner.data_check import check_data
from .runner.errors import one_line_errors
from .runner.folder_lock import FolderInUseError
from .runner.tool_runners import ConsoleRunner, TrainingRunner
from .schedulers.group_one_cycle_lr import GroupOneCycleLR

install_safe_loading()
install_safe_handlers()
# mmpretrain's SwitchRecipeHook asks this registry alone for what wraps a model, and it is empty:
# with several processes the hook would not find the loss that it is to replace
MODEL_WRAPPERS.register_module(module=DistributedDataParallel, force=True)

__all__ = [
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'CheckpointError',
    'ClassCountCheckHook',
    'ClassInfoHook',
    'ConsoleRunner',
    'DeferredInfoHook',
    'EarlyLoggerHook',
    'FiniteLossHook',
    'FolderInUseError',
    'ForeachEMAHook',
    'FoundCheckpoint',
    'GroupOneCycleLR',
    'LabelCheckHook',
    'LaunchError',
    'LoaderCheckHook',
    'MidEpochResumeHook',
    'MissedValidationHook',
    'MultiLabelVisualizationHook',
    'NonFiniteLossError',
    'RankBuffersHook',
    'SeedHook',
    'SharedGroupsConstructor',
    'StageEarlyStoppingHook',
    'StageRestartHook',
    'TeachersHook',
    'TrainingRunner',
    'UntrustedFileError',
    'adapt_to_device',
    'build_prototype_loader',
    'check_data',
    'check_launch',
    'class_means',
    'find_checkpoint',
    'find_resumable',
    'install_safe_loading',
    'one_line_errors',
    'read_checkpoint',
    'scale_for_accumulation',
    'seed_generators',
]
