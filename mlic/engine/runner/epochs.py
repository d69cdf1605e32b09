"""Another number of epochs for a config: all that counts in epochs changes with it."""

import math
from collections.abc import Callable
from itertools import accumulate, pairwise

import numpy as np
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmpretrain.engine.hooks import SwitchRecipeHook

from mlic.engine.hooks.foreach_ema_hook import LARGEST_MOMENTUM
from mlic.engine.hooks.stage_early_stopping_hook import StageEarlyStoppingHook
from mlic.engine.hooks.stage_restart_hook import StageRestartHook
from mlic.registries import type_name

from ..config.sections import hooks_of, is_hook, schedules_of

# what moves in each step, and may count epochs or iterations; the others stay for epochs
COURSES = ('Linear', 'Constant', 'Cosine', 'Poly', 'OneCycle', 'GroupOneCycle')


def set_epochs(cfg: Config, epochs: int) -> None:
    """Let a config train for this many epochs; changes ``cfg``.

    Stages keep their shares, of at least one epoch each. Schedules keep their form within
    each stage: a course in fewer epochs counts in iterations, while steps and periods stay whole
    epochs; what counts in iterations is scaled as the run is. The EMA averages over the same part
    of the run, and validation comes as often, with one at the end. The patience of
    ``StageEarlyStoppingHook`` and ``ReduceOnPlateauLR`` stays: a part of it would be no patience.

    Raises:
        ValueError: If the config does not count in epochs, or there are fewer than stages, or
            than periods of a schedule.
    """
    old = cfg.train_cfg.get('max_epochs')
    if not old:
        raise ValueError(
            '--epochs: this config has no train_cfg.max_epochs, it does not count epochs'
        )
    starts = _stage_starts(cfg)
    inner = {holder[key] - 1 for holder, key in starts}
    borders = [0, *sorted(place for place in inner if 0 < place < old), old]
    stages = len(borders) - 1
    if epochs < stages:
        raise ValueError(
            f'--epochs {epochs}: this config trains in {stages} stages of at least one epoch each, '
            f'the last from epoch {borders[-2] + 1} of {old} on: give at least {stages}'
        )
    if epochs == old:
        return
    moved = _apart([border * epochs / old for border in borders])

    def move(place: float) -> float:
        """The place, in the new epochs, of this many epochs of the config."""
        beyond = max(place - old, 0) * (epochs - moved[-2]) / (old - borders[-2])
        return _exact(float(np.interp(place, borders, moved)) + beyond)

    def first(epoch: int) -> int:
        """Where an epoch that something begins with, counted from 1, is now."""
        return math.floor(move(epoch - 1)) + 1

    def fewer(interval: int) -> int:
        return max(1, min(interval, round(interval * epochs / old)))

    for holder, key in starts:
        holder[key] = move(holder[key] - 1) + 1
    for schedule in schedules_of(cfg):
        try:
            _move_schedule(schedule, move, old, epochs / old)
        except ValueError as error:
            raise ValueError(f'--epochs {epochs}: {error}') from None
    for hook in hooks_of(cfg):
        if is_hook(hook, EMAHook):
            if hook.get('horizon') is None:
                momentum = hook.get('momentum', 0.0002)  # mmengine's
                hook['momentum'] = min(momentum * old / epochs, max(momentum, LARGEST_MOMENTUM))
            if hook.get('begin_epoch'):
                hook['begin_epoch'] = first(hook['begin_epoch'])
            for key in {'begin_iter', 'gamma'} & hook.keys():  # gamma is a length, too
                hook[key] = hook[key] and max(1, round(hook[key] * epochs / old))
    interval = cfg.train_cfg.get('val_interval', 1)
    last = interval >= old
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs if last else fewer(interval))
    if cfg.train_cfg.get('dynamic_intervals'):
        changes = cfg.train_cfg.dynamic_intervals
        cfg.train_cfg.dynamic_intervals = [(first(epoch), fewer(every)) for epoch, every in changes]
    if cfg.train_cfg.get('val_begin', 1) > 1:
        cfg.train_cfg.val_begin = max(1, round(move(cfg.train_cfg.val_begin)))


def of_two_iterations(schedule: dict, epoch_length: int) -> dict:
    """A schedule that ends with a part of an epoch, with an end after two iterations or more.

    mmengine refuses an end within the first, and after a single one a warm-up stays for the whole
    run at the rate that it begins with.

    Returns:
        dict: The schedule, or a copy with another ``end``.
    """
    begin, end = schedule.get('begin', 0), schedule.get('end', math.inf)
    if not schedule.get('convert_to_iter_based') or (end - begin) * epoch_length >= 2:
        return schedule
    return {**schedule, 'end': begin + 2.5 / epoch_length}  # mmengine cuts to whole iterations


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


def _exact(value: float) -> float:
    """A whole number as an int, without what the rounding of floats leaves."""
    return round(value) if abs(value - round(value)) < 1e-9 else value


def _apart(places: list[float]) -> list[int]:
    """Growing places as whole numbers; between the first and the last, no two are the same."""
    moved = [round(place) for place in places]
    for i in range(1, len(moved) - 1):
        moved[i] = max(moved[i], moved[i - 1] + 1)
    for i in reversed(range(1, len(moved) - 1)):
        moved[i] = min(moved[i], moved[i + 1] - 1)
    return moved


def _move_schedule(schedule: dict, move: Callable[[float], float], old: int, ratio: float) -> None:
    """Move ends and lengths of a schedule; changes it."""
    kind = type_name(schedule)
    by_epoch = schedule.get('by_epoch', True)
    fractions = by_epoch and kind.startswith(COURSES)  # which iterations can follow

    def place(value: float) -> float:
        moved = move(value) if by_epoch else value * ratio
        return moved if fractions or math.isinf(moved) else round(moved)

    begin, end = schedule.get('begin', 0), schedule.get('end', old if by_epoch else math.inf)
    start, stop, span = place(begin), place(end), end - begin
    if not fractions:  # a ramp of a single iteration would stay where it begins
        stop = max(stop, start + (1 if by_epoch else 2))

    def stretch(value: float) -> float:
        """A length from the beginning on; what would reach beyond the end keeps its share."""
        if value > span:
            return _exact(value * (stop - start) / span)
        return _exact(place(begin + value) - start)

    def whole(value: float) -> int:
        return max(1, round(stretch(value)))

    changed = {key: moved for key, moved in (('begin', start), ('end', stop)) if key in schedule}
    for key in ('T_max', 'total_steps'):
        value = schedule.get(key)
        if value == span:
            del schedule[key]  # its default, exact to the iteration
        elif value:
            cut = value > span and by_epoch
            changed[key] = stretch(value) if cut else whole(value)
            if kind == 'OneCycleLR':  # which takes nothing else
                changed[key] = math.ceil(changed[key])
    if 'step_size' in schedule:
        changed['step_size'] = whole(schedule['step_size'])
    elif 'milestones' in schedule:
        changed['milestones'] = [whole(value) for value in schedule['milestones']]
    elif kind.startswith('Exponential'):  # a factor of each step
        stretched = ratio if math.isinf(span) else (stop - start) / span
        changed['gamma'] = schedule['gamma'] ** (1 / stretched)
    if 'periods' in schedule:
        ends = _apart([0, *map(stretch, accumulate(schedule['periods']))])
        changed['periods'] = [after - before for before, after in pairwise(ends)]
        if min(changed['periods']) < 1:
            raise ValueError(
                f'{kind} has {len(ends) - 1} periods of at least one '
                f'{"epoch" if by_epoch else "iteration"} each, which do not fit into {ends[-1]}'
            )
    schedule.update(changed)
    parts = [changed.get(key, 0) for key in ('begin', 'end', 'T_max', 'total_steps')]
    if fractions and (stop - start < span or any(part != round(part) for part in parts)):
        schedule['convert_to_iter_based'] = True
