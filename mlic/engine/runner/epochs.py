"""Another number of epochs for a config: all that counts in epochs changes with it."""

from collections.abc import Callable

import numpy as np
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmpretrain.engine.hooks import SwitchRecipeHook

from mlic.engine.hooks.foreach_ema_hook import LARGEST_MOMENTUM
from mlic.engine.hooks.stage_early_stopping_hook import StageEarlyStoppingHook
from mlic.engine.hooks.stage_restart_hook import StageRestartHook

from .settings import hooks_of, is_hook, schedules_of


def set_epochs(cfg: Config, epochs: int) -> None:
    """Let a config train for this many epochs; changes ``cfg``.

    Stages keep their shares, of at least one epoch each. Schedules keep their form within
    each stage (what then ends within an epoch counts in iterations), the EMA averages over the
    same part of the run, and validation comes as often, with one at the end. The patience of
    ``StageEarlyStoppingHook`` and ``ReduceOnPlateauLR`` stays: a part of it would be no patience.

    Args:
        cfg (Config): With ``train_cfg.max_epochs``.
        epochs (int): At least 1.

    Raises:
        ValueError: If the config does not count in epochs, or there are fewer than stages.
    """
    old = cfg.train_cfg.get('max_epochs')
    if not old:
        raise ValueError(
            '--epochs: this config has no train_cfg.max_epochs, it does not count epochs'
        )
    starts = _stage_starts(cfg)
    borders = [0, *sorted({holder[key] - 1 for holder, key in starts} - {0}), old]
    stages = len(borders) - 1
    if epochs < stages:
        raise ValueError(
            f'--epochs {epochs}: this config trains in {stages} stages of at least one epoch each, '
            f'the last from epoch {borders[-2] + 1} of {old} on: give at least {stages}'
        )
    if epochs == old:
        return
    moved = _shares(borders, epochs)

    def move(place: float) -> float:
        """Where so many done epochs of the config are now."""
        place = float(np.interp(place, borders, moved)) if place <= old else place * epochs / old
        return round(place) if abs(place - round(place)) < 1e-9 else place

    for holder, key in starts:
        holder[key] = move(holder[key] - 1) + 1
    for schedule in schedules_of(cfg):
        _move_schedule(schedule, move, epochs / old)
    for hook in hooks_of(cfg):
        if is_hook(hook, EMAHook):
            if hook.get('horizon') is None:
                momentum = hook.get('momentum', 0.0002)  # mmengine's
                hook['momentum'] = min(momentum * old / epochs, max(momentum, LARGEST_MOMENTUM))
            if hook.get('begin_epoch'):
                hook['begin_epoch'] = round(move(hook['begin_epoch']))
    interval = cfg.train_cfg.get('val_interval', 1)
    fewer = max(1, min(interval, round(interval * epochs / old)))
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs if interval >= old else fewer)
    if cfg.train_cfg.get('val_begin', 1) > 1:
        cfg.train_cfg.val_begin = max(1, round(move(cfg.train_cfg.val_begin)))


def _stage_starts(cfg: Config) -> list[tuple[dict, str]]:
    """The entries that hold the first epoch of a stage, counted from 1."""
    entries = []
    for hook in hooks_of(cfg):
        if is_hook(hook, StageRestartHook):
            entries.append((hook, 'begin'))
        elif is_hook(hook, StageEarlyStoppingHook):
            entries.append((hook, 'next_stage'))
        elif is_hook(hook, SwitchRecipeHook):
            entries += [(recipe, 'action_epoch') for recipe in hook.get('schedule', ())]
    # one that lacks it is refused when it is built
    return [(holder, key) for holder, key in entries if key in holder]


def _shares(borders: list[int], epochs: int) -> list[int]:
    """The borders of the stages in another number of epochs, in proportion, none of them empty."""
    moved = [round(border * epochs / borders[-1]) for border in borders]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + 1)
    moved[-1] = epochs
    for i in reversed(range(1, len(moved) - 1)):
        moved[i] = min(moved[i], moved[i + 1] - 1)
    return moved


def _move_schedule(schedule: dict, move: Callable[[float], float], ratio: float) -> None:
    """Move ends and lengths of a schedule; changes it."""
    ends = {key for key in ('begin', 'end') if key in schedule}
    lengths = {key for key in ('step_size', 'T_max', 'total_steps') if key in schedule}
    if not schedule.get('by_epoch', True):
        schedule.update({key: round(schedule[key] * ratio) for key in ends | lengths})
        return
    begin = schedule.get('begin', 0)

    def length(value: int) -> int:
        return max(1, round(move(begin + value) - move(begin)))

    if schedule.get('T_max') == schedule.get('end', 0) - begin:
        lengths.remove('T_max')
        del schedule['T_max']  # its default, exact to the iteration
    changed = {key: length(schedule[key]) for key in lengths}
    for key in ('milestones', 'periods'):
        if key in schedule:
            changed[key] = [length(value) for value in schedule[key]]
    changed.update({key: move(schedule[key]) for key in ends})
    schedule.update(changed)
    if any(changed[key] != round(changed[key]) for key in ends):
        schedule['convert_to_iter_based'] = True
