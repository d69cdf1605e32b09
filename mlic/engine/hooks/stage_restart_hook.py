"""The second stage of a method that trains in two."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.runner import Runner, load_checkpoint
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlic.engine.checkpoints.launches import (
    Position,
    find_of_run,
    launches_of,
    recorded_best,
)
from mlic.engine.checkpoints.search import FoundCheckpoint
from mlic.engine.config.monitored import watching_schedules
from mlic.engine.mmengine_internals import forget_plateau, forget_scalar, has_loaded, unwrap
from mlic.engine.runner.class_means import prototype_loader_config
from mlic.names import counted, first_names

from .foreach_ema_hook import ForeachEMAHook

NO_BEST = (
    "the second stage starts from the best checkpoint (start_from='best'), and {} is missing, or a "
    'file of another run: put it into {}, resume from a checkpoint whose best one is there, or '
    'start a new training'
)
NEW_PART = (
    '{}.start_stage puts a {} at {} of the model: the optimizer has none of its weights, and a '
    'resumed run has none there: let the model have it from the start, and start_stage set a flag'
)
PLAIN = (bool, int, float, str, type(None), np.float64)
TRAINED = '.requires_grad'


@HOOKS.register_module()
class StageRestartHook(Hook):
    """Start training anew at an epoch, from the weights of the epochs before.

    At the start of epoch ``begin`` the hook puts the weights that ``start_from`` names into the
    model, lets :meth:`start_stage` prepare it, and starts optimizer state, EMA and the search for
    the best checkpoint anew, and what a ``ReduceOnPlateauLR`` counts. A method's hook overrides
    :meth:`start_stage`. The flags, numbers and texts that it sets on modules of the model
    (``model.head.warm_up = False``), and what it freezes, are set again when the run is resumed in
    the stage; what prediction needs, too, has to be a buffer or parameter.

    From then on the message hub, and so each checkpoint, has ``stage`` = 2.

    Args:
        begin (int): The epoch, counted from 1, that the stage starts with. 1 needs trained
            weights (``load_from``).
        start_from (str): 'ema': the averaged weights, where an ``EMAHook`` runs; 'best': those of
            the first stage's best checkpoint, where there is one; 'last': those of the last
            iteration, not averaged. Defaults to 'ema'.

    Raises:
        ValueError: If ``begin`` is below 1, or ``start_from`` none of these.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='StageRestartHook', begin=5)  # in custom_hooks
        >>> HOOKS.build(config).start_from
        'ema'
    """

    priority = 'LOW'
    first_stage = ''  # how to train it, in brackets, for a message
    reads_training_set = False  # whether start_stage does, under the test pipeline
    trains: tuple[str, ...] = ()  # parts of the head that the first stage does not

    def __init__(self, begin: int, start_from: str = 'ema') -> None:
        if begin < 1:
            raise ValueError(f'begin counts epochs from 1, got {begin}')
        if start_from not in ('ema', 'best', 'last'):
            raise ValueError(f"start_from is 'ema', 'best' or 'last', got {start_from!r}")
        self.begin = begin
        self.start_from = start_from

    def start_stage(self, runner: Runner, model: nn.Module) -> str:
        """Prepare the model, without its DDP wrapper; returns how the line in the log begins."""
        return f'Stage 2 starts at epoch {self.begin}'

    def before_train(self, runner: Runner) -> None:
        """Check that the stage can start.

        Raises:
            ValueError: If it never starts, if early stopping knows another second stage or none, or
                if the training set that it reads has no pipeline.
            RuntimeError: If it starts at once, from weights that nobody trained, or is resumed
                without a module that :meth:`start_stage` has put into the model, or in several
                processes that do not follow what it froze.
        """
        if self.reads_training_set:
            prototype_loader_config(runner.cfg)
        name = type(self).__name__
        if self.begin > runner.max_epochs:
            raise ValueError(
                f'{name}(begin={self.begin}) never starts: the run has '
                f'{counted(runner.max_epochs, "epoch")}'
            )
        for hook in runner.hooks if self.begin > 1 else ():
            if isinstance(hook, EarlyStoppingHook):
                _check_early_stopping(hook, name, self.begin)
        if self.begin == 1 and not has_loaded(runner):
            raise RuntimeError(
                f'{name}(begin=1) starts from trained weights, and none are given: train the first '
                f'stage{self.first_stage}, then add --cfg-options load_from=CHECKPOINT'
            )
        if self.has_started(runner):
            switches = runner.message_hub.runtime_info.get('stage_switches', {})
            _switch(runner.model, switches, name)

    def has_started(self, runner: Runner) -> bool:
        """Whether a run that was resumed within or after epoch ``begin`` is in the stage."""
        return runner.iter > self._first_iteration(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the stage if its epoch has come.

        Raises:
            RuntimeError: If it is to start from the best checkpoint, and that is gone; or if it
                freezes or thaws parts in a way that several processes do not follow.
        """
        if self.start_from == 'best' and not self.has_started(runner):
            self._best_checkpoint(runner)
        # an epoch of which nothing is left, at resume, is at that iteration, too
        if runner.epoch + 1 != self.begin or runner.iter != self._first_iteration(runner):
            return
        model = unwrap(runner.model)
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        self._load_start(runner, model, averages)
        before = _switches(model)
        line = self.start_stage(runner, model)
        changed = {key: x for key, x in _switches(model).items() if before.get(key, ...) != x}
        name = type(self).__name__
        _check_gradients(runner.model, changed, name)
        for place, kind in changed.items():
            if place.endswith('.__class__'):
                part = place.removesuffix('.__class__')
                runner.logger.warning(NEW_PART.format(name, kind, part))
        for hook in averages:
            hook.ema_model.module.load_state_dict(model.state_dict())
            # not 0: mmengine would copy the weights after the first step, the published average
            # starts from those before it
            hook.ema_model.steps.fill_(1)
        self._forget_best_score(runner)
        self._forget_losses(runner)
        runner.optim_wrapper.optimizer.state.clear()
        runner.optim_wrapper.zero_grad()  # what accumulation has gathered is of the stage before
        runner.message_hub.update_info('stage', 2)
        runner.message_hub.update_info('stage_switches', changed)
        runner.logger.info(f'{line}, optimizer state, EMA and best score start anew.')

    def _first_iteration(self, runner: Runner) -> int:
        """Iterations before the stage."""
        return (self.begin - 1) * len(runner.train_dataloader)

    @torch.no_grad()
    def _load_start(self, runner: Runner, model: nn.Module, averages: list[EMAHook]) -> None:
        """Put the weights to start from into the model."""
        if self.start_from == 'last':
            return
        best = self._best_checkpoint(runner) if self.start_from == 'best' else None
        if best is not None:
            dist.barrier()  # rank 0 may still be writing it
            load_checkpoint(model, best, map_location='cpu', strict=True, logger=runner.logger)
            return
        for hook in averages:
            for source, average in zip(model.parameters(), hook.ema_model.module.parameters()):
                source.copy_(average)
            if isinstance(hook, ForeachEMAHook):
                for average, source in hook.averaged_statistics().values():
                    source.copy_(average)

    @staticmethod
    def _best_checkpoint(runner: Runner) -> str | None:
        """The best checkpoint so far; None before the first validation."""
        info = runner.message_hub.runtime_info
        recorded = recorded_best(info)
        held = [getattr(hook, 'best_ckpt_path', None) for hook in runner.hooks]
        for hook in runner.hooks:
            held += getattr(hook, 'best_ckpt_path_dict', {}).values()
        if recorded is None or recorded in held:
            return recorded
        # the checkpoint hook has not found it, or looks for none (save_best)
        run = Position(launches_of(info), runner.iter)
        found = find_of_run(recorded, run, [runner.work_dir])
        if found is None:
            raise RuntimeError(NO_BEST.format(recorded, runner.work_dir))
        return found

    @staticmethod
    def share(module: nn.Module) -> None:
        """Give all processes rank 0's parameters: new layers are drawn on each."""
        for parameter in module.parameters():
            dist.broadcast(parameter.data)

    @staticmethod
    def _forget_losses(runner: Runner) -> None:
        """A loss of the stage before would be logged on, with its last value."""
        hub = runner.message_hub
        for name in [key for key in hub.log_scalars if key.startswith('train/') and 'loss' in key]:
            forget_scalar(hub, name)

    @staticmethod
    def _forget_best_score(runner: Runner) -> None:
        """The stage has a best score and checkpoint of its own, next to those of the one before."""
        for name in [key for key in runner.message_hub.runtime_info if key.startswith('best_')]:
            runner.message_hub.pop_info(name)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and getattr(hook, 'best_ckpt_path', None):
                hook.best_ckpt_path = None
            for key in getattr(hook, 'best_ckpt_path_dict', {}):
                hook.best_ckpt_path_dict[key] = None
        for schedule in watching_schedules(runner):
            forget_plateau(schedule)


def _switches(model: nn.Module) -> dict[str, bool | float | str | None]:
    """Classes and plain attributes of all modules, and which parameters are trained, by places."""
    found = {}
    for place, module in model.named_modules():
        for name, value in {'__class__': type(module).__name__, **vars(module)}.items():
            # of a subclass, such as an Enum, a checkpoint would not be read without its code
            if name != 'training' and type(value) in PLAIN:
                found[f'{place}.{name}'.lstrip('.')] = value
    for place, parameter in model.named_parameters():
        found[place + TRAINED] = parameter.requires_grad
    return found


def _switch(
    wrapper: nn.Module, switches: Mapping[str, bool | float | str | None], name: str
) -> None:
    """Set what a stage has changed; RuntimeError if it has put in modules that are not there."""
    model = unwrap(wrapper)
    owners, present = dict(model.named_modules()) | dict(model.named_parameters()), _switches(model)
    changed = {place: x for place, x in switches.items() if present.get(place, ...) != x}
    _check_gradients(wrapper, changed, name)
    for place, value in changed.items():
        owner, _, attribute = place.rpartition('.')
        if attribute == '__class__':
            raise RuntimeError(NEW_PART.format(name, value, owner))
        setattr(owners[owner], attribute, value)


def _check_gradients(wrapper: nn.Module, changed: Mapping, name: str) -> None:
    """RuntimeError if processes wait for the gradient of what is now frozen, or do not share one.

    DDP has seen which parameters are trained when the run was started.
    """
    trained = {key.removesuffix(TRAINED): x for key, x in changed.items() if key.endswith(TRAINED)}
    if not trained or not isinstance(wrapper, DistributedDataParallel):
        return
    thawed = [place for place, is_trained in trained.items() if is_trained]
    if thawed:
        raise RuntimeError(
            f'{name}.start_stage lets {first_names(thawed, 1)} be trained, which was not when the '
            'processes were started, so that each would train its own: start the second stage as a '
            'run of its own, with load_from, or use one process'
        )
    if not wrapper.find_unused_parameters:
        raise RuntimeError(
            f'{name}.start_stage freezes {first_names(trained, 1)}, and the processes would wait '
            'for its gradient: set find_unused_parameters=True in the config, and resume'
        )


def _check_early_stopping(hook: EarlyStoppingHook, restart: str, begin: int) -> None:
    """Refuse one that could end the run before a stage begins, or judge it by the one before."""
    next_stage = getattr(hook, 'next_stage', None)  # mmengine's knows no stages
    if next_stage == begin:
        return
    own = '' if next_stage is None else f'(next_stage={next_stage})'
    raise ValueError(
        f'{type(hook).__name__}{own} would not stop each of the two stages by itself, and '
        f"{restart}(begin={begin}) starts a second: use dict(type='StageEarlyStoppingHook', "
        f'next_stage={begin}) instead'
    )


def untrained_warnings(found: FoundCheckpoint, meta: Mapping, weights: Iterable[str]) -> list[str]:
    """A line if a checkpoint is of the first stage, and the second trains parts that it has."""
    used = [hook for name, hook in HOOKS.module_dict.items() if name in str(meta.get('cfg'))]
    stages = [hook for hook in used if issubclass(hook, StageRestartHook)]
    there = {name.split('.')[1] for name in weights if name.startswith('head.')}
    parts = [part for stage in stages for part in stage.trains if part in there]
    if (found.stage or 1) > 1 or not parts:
        return []
    return [
        f'warning: {found.path} is of the first stage: its {" and ".join(parts)} are not '
        "trained; of a work directory, --stage last takes the second stage's checkpoint"
    ]
