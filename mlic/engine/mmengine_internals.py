"""What mmengine does not show or have: the one file that names its private members.

A later mmengine that renames one of them is adapted to here. Tried with 0.9.1 to 0.10.12.
"""

import functools
import inspect
import logging
import re
import threading
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from types import ModuleType
from unittest.mock import patch

import mmengine
from mmengine.config import DictAction
from mmengine.hooks import ParamSchedulerHook
from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.model import ImgDataPreprocessor, is_model_wrapper
from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler, _ParamScheduler
from mmengine.registry import registry
from mmengine.runner import BaseLoop, CheckpointLoader, EpochBasedTrainLoop, Runner, checkpoint
from mmengine.runner import runner as runner_module
from mmengine.utils import ManagerMixin, manager
from torch import nn

from mlic.names import first_names

_in_thread = threading.local()
_import_by_name, _import_module = registry.get_object_from_string, registry.import_module


@contextmanager
def registered_names_only() -> Iterator[None]:
    """While this holds, a registry builds what is registered, and imports no other name.

    A class may take the name of another in any argument (``padding_mode``, ``conv_type``), and
    mmengine imports a name that is not registered, or the part before a dot in it. Other threads
    are not concerned.
    """
    before = getattr(_in_thread, 'registered_only', False)
    _in_thread.registered_only = True
    try:
        yield
    finally:
        _in_thread.registered_only = before


def _import_listed(name: str) -> ModuleType:
    listed = name.split('.')[0] in ('mmengine', 'mmcv', 'mmpretrain')
    if getattr(_in_thread, 'registered_only', False) and not listed:
        raise ImportError(name)  # which mmengine takes for: there is none
    return _import_module(name)


def _import_unless_guarded(name: str) -> object:
    if getattr(_in_thread, 'registered_only', False):
        raise LookupError(f'{name} is not registered')
    return _import_by_name(name)


registry.get_object_from_string, registry.import_module = _import_unless_guarded, _import_listed


def _leaving_no_lock(method: Callable) -> classmethod:
    """A class method of mmengine's managers, which keep their lock where they raise.

    Other threads that log or build anything would wait for it for ever.
    """

    @functools.wraps(method)
    def called(cls: type, *args, **kwargs):
        held_before = manager._lock._is_owned()
        try:
            return method(cls, *args, **kwargs)
        finally:
            while manager._lock._is_owned() and not held_before:
                manager._lock.release()

    return classmethod(called)


for _name in ('get_instance', 'get_current_instance'):
    _method = getattr(ManagerMixin, _name).__func__
    setattr(ManagerMixin, _name, _leaving_no_lock(_method))


def option_value(text: str) -> object:
    """What an option of the command line sets, as mmengine reads it, but for blanks.

    Those within a value, such as a path, stay; mmengine removes them. And several lists, such as
    (1,2),(3,4), are a list of them, where mmengine recurses without end.
    """
    text = text.strip().strip('\'"')
    if ',' not in text and not text.startswith(('[', '(')):
        return DictAction._parse_int_float_bool(text)
    depths = accumulate((char in '[(') - (char in '])') for char in text)
    if any(char == ',' and depth == 0 for char, depth in zip(text, depths)):
        text = f'[{text}]'
    text = re.sub(r'(?<=[\[(,])\s+|\s+(?=[\]),])', '', text)  # between the items of a list
    return _with_blanks(DictAction._parse_iterable(text.replace(' ', _BLANK)))


_BLANK = '\0'


def _with_blanks(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_blanks, value))
    return value.replace(_BLANK, ' ') if isinstance(value, str) else value


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DDP wrapper."""
    return model.module if is_model_wrapper(model) else model


def is_resuming(runner: Runner) -> bool:
    """Whether the run continues an earlier one."""
    return runner._resume


def source_of_weights(runner: Runner) -> str:
    """The checkpoint that the run loads; '' without one."""
    return runner._load_from or ''


def has_loaded(runner: Runner) -> bool:
    """Whether the run has loaded a checkpoint."""
    return runner._has_loaded


def mark_as_loaded(runner: Runner) -> None:
    """Let the run take its checkpoint for loaded."""
    runner._has_loaded = True


def keep_weights(runner: Runner) -> None:
    """Let the run start from the weights that its model has."""
    runner._init_model_weights = lambda: None


def running_loop(runner: Runner) -> tuple[BaseLoop | None, bool]:
    """The loop that has been built first, None if there is none yet; and whether it trains."""
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    loop = next((loop for loop in loops if isinstance(loop, BaseLoop)), None)
    return loop, loop is not None and loop is loops[0]


def loader_schemes() -> dict[str, Callable]:
    """The loader of each prefix of a checkpoint's address, such as 'http://'."""
    return dict(CheckpointLoader._schemes)


@contextmanager
def loading_quietly() -> Iterator[None]:
    """While this holds, the Runner loads checkpoints without a print next to its log."""
    quiet = functools.partial(runner_module._load_checkpoint, logger='silent')
    with patch.object(runner_module, '_load_checkpoint', quiet):
        yield


def tensors_of(module: nn.Module) -> list[tuple[int, int]]:
    """What changes with each write to a weight: of all, as hooks may take some off a state.

    Not of batch norm's counts, which it writes itself where a file has none.
    """
    buffers = [x for name, x in module.named_buffers() if 'num_batches_tracked' not in name]
    try:
        return [(id(x), x._version) for x in (*module.parameters(), *buffers)]
    except RuntimeError:  # torch counts none of what is made in its inference mode
        return []


def partly_loaded(module: nn.Module, before: list, source: str) -> str | None:
    """What to say of a checkpoint that had fewer than half of a module's weights."""
    after = tensors_of(module)
    loaded = sum(one != other for one, other in zip(before, after))
    if not before or 2 * loaded >= len(before):
        return None
    return (
        f'{source} has weights for only {loaded} of {len(before)} of {type(module).__name__}; the '
        'others stay as they were: is it another model, or are the names those of another library?'
    )


def _loading_something(load: Callable) -> Callable:
    """mmengine's way to put weights into a model, which only logs that no name fits."""

    @functools.wraps(load)
    def loaded(module: nn.Module, state_dict: Mapping, *args, **kwargs) -> None:
        before = tensors_of(module)
        load(module, state_dict, *args, **kwargs)
        frame, source = inspect.currentframe(), None
        while frame is not None and not source:
            by_init = getattr(frame.f_locals.get('self'), 'checkpoint', None)
            source, frame = frame.f_locals.get('filename') or by_init, frame.f_back
        few = partly_loaded(module, before, source or 'a checkpoint')
        if few and state_dict and before == tensors_of(module):
            own = module.state_dict()
            of_shape = ' of the same shape' if own.keys() & state_dict.keys() else ''
            raise ValueError(
                f'{source or "a checkpoint"} has no weight of {type(module).__name__}{of_shape}: '
                f'it has {first_names(state_dict, 3)}, and the model {first_names(own, 3)}'
            )
        if few and state_dict:
            print_log(few, logger='current', level=logging.WARNING)

    return loaded


checkpoint.load_state_dict = _loading_something(checkpoint.load_state_dict)


def init_weights_quietly(module: nn.Module) -> None:
    """Draw or load a module's first weights; without a file mmengine prints a line for each."""
    with patch.object(module, '_dump_init_info', lambda: None, create=True):
        module.init_weights()


def file_being_loaded() -> str:
    """What ``mmengine.load`` was called with; its handlers get the content without the name."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is mmengine.load.__code__:
            return str(frame.f_locals['file'])
        frame = frame.f_back
    return 'a file'


def validation_interval(loop: EpochBasedTrainLoop) -> int:
    """Epochs between two validations, at the epoch where the loop is."""
    loop._decide_current_val_interval()
    return loop.val_interval


def validate_last_epoch(loop: EpochBasedTrainLoop) -> None:
    """Let the last epoch be validated whatever the interval: mmengine does so from 0.10.4 on."""
    after = loop.max_epochs + 1  # it compares with the next epoch
    place = bisect(loop.dynamic_milestones, after)  # some may be those of a longer run
    loop.dynamic_milestones.insert(place, after)
    loop.dynamic_intervals.insert(place, 1)


def move_to_epoch(runner: Runner, epochs_done: int) -> None:
    """Set epoch, iteration and every schedule to where ``epochs_done`` epochs are done.

    A schedule takes each step that training would have taken: most compute a value from the last.
    """
    loop, hook = runner.train_loop, ParamSchedulerHook()
    for _ in range(loop._epoch, epochs_done):
        for batch_idx in range(len(loop.dataloader)):
            hook.after_train_iter(runner, batch_idx)
        hook.after_train_epoch(runner)
    loop._iter += (epochs_done - loop._epoch) * len(loop.dataloader)
    loop._epoch = epochs_done
    # a resumed run counts the steps between two updates from here, too
    runner.optim_wrapper.initialize_count_status(runner.model, loop._iter, loop.max_iters)


def fit_schedule(scheduler: _ParamScheduler, state: dict, old: int, new: int) -> None:
    """Move a schedule's saved ``state`` from epochs of ``old`` iterations to epochs of ``new``."""
    step = state['_global_step'] * new // old
    # what it counts in iterations is the new run's, what it has done the old one's
    kept = {name: state[name] for name in ('base_values', '_last_value')}
    last_step = max(min(step, scheduler.end - 1) - scheduler.begin, -1)
    state.update(scheduler.state_dict(), _global_step=step, last_step=last_step, **kept)


def forget_plateau(scheduler: ReduceOnPlateauParamScheduler) -> None:
    """Let a schedule look for its best score, and count, from here on."""
    scheduler._reset()


def forget_scalar(hub: MessageHub, name: str) -> None:
    """No longer log a number; a checkpoint does not miss it either."""
    hub.log_scalars.pop(name, None)
    hub._resumed_keys.pop(name, None)


def accumulative_counts(wrapper: OptimWrapper) -> int:
    """Iterations between two steps of the optimizer; 1 for a dict of wrappers."""
    return getattr(wrapper, '_accumulative_counts', 1)


def has_stepped(wrapper: OptimWrapper) -> bool:
    """Whether the iteration that ``wrapper`` counted last ended its group of accumulated ones."""
    return accumulative_counts(wrapper) == 1 or wrapper.should_update()


def count_iteration(wrapper: OptimWrapper) -> None:
    """Count an iteration that has not called ``update_params``."""
    wrapper._inner_count += 1


def mark_as_counted(step: Callable) -> Callable:
    """Tell the schedulers, which count steps, that ``step`` ends in one that is counted."""
    step._with_counter = True
    return step


def log_file(logger: MMLogger) -> str:
    """The file that the logger writes."""
    return logger._log_file


def normalises(preprocessor: ImgDataPreprocessor) -> bool:
    """Whether mean and std are applied."""
    return preprocessor._enable_normalize
