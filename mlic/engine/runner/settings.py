"""The settings that a run keeps to its end: at resume, a change of them would not be obeyed."""

from collections.abc import Iterator, Mapping

from mmengine.hooks import EarlyStoppingHook, EMAHook
from mmpretrain.engine.hooks import SwitchRecipeHook

from mlic.engine.hooks.stage_restart_hook import StageRestartHook

from ..config.sections import hooks_of, is_hook, schedules_of

# in which weights, schedules or stages depend on what happened in earlier epochs
TRAINING_HOOKS = (EarlyStoppingHook, EMAHook, StageRestartHook, SwitchRecipeHook)
# what is obeyed from the next iteration on, or changes no result, at any depth of a section
FREE = dict(
    model={'init_cfg', 'pretrained', 'with_cp'},  # the weights are the checkpoint's
    train_dataloader={
        *('num_workers', 'persistent_workers', 'prefetch_factor', 'multiprocessing_context'),
        *('pin_memory', 'pin_memory_device', 'timeout', 'lazy_init', 'serialize_data'),
        # paths; another number of images is said, or refused, where the position is restored
        *('data_root', 'data_prefix', 'ann_file', 'image_set_path', 'folder'),
        *('backend_args', 'file_client_args'),
    },
    optim_wrapper={'fused', 'foreach'},
    hooks={'priority', 'patience', 'min_delta'},
)
PRECISION = ('type', 'dtype', 'loss_scale')  # of the machine, which may be another
STEP = ('train_dataloader.batch_size', 'optim_wrapper.accumulative_counts')


def changed_settings(
    stored: Mapping, now: Mapping, processes: tuple[int | None, int]
) -> list[tuple[str, object, object]]:
    """What training would ignore, or half obey, in a run that is resumed with another config.

    Compared are model, preprocessor, training data (not their paths), optimizer, schedules,
    epochs, seed, and the hooks with a course over the epochs (:data:`TRAINING_HOOKS`). All else
    is free: workers, logging, validation, precision, paths, patience.

    More epochs are free where every schedule ends before and no average has a ``horizon``, a share
    of the run: nothing depends on the number then.
    With another number of processes, batch size and accumulation may change so that the
    images of a step stay the same.

    Args:
        stored (Mapping): Config of the checkpoint.
        now (Mapping): Config of the run.
        processes (tuple[int | None, int]): Of the checkpoint, None if unknown, and of the run.

    Returns:
        list[tuple[str, object, object]]: Name, value in the checkpoint, value in the config.
    """
    changes = list(_compare(_settings(stored), _settings(now), ()))
    images = [_images_of_step(cfg) * (count or 0) for cfg, count in zip((stored, now), processes)]
    free = set(STEP) if processes[0] != processes[1] and images[0] == images[1] else set()
    depends = any(_reaches_the_end(schedule, stored, now) for schedule in schedules_of(now))
    depends |= any(hook.get('horizon') is not None for hook in hooks_of(now))
    if not depends:
        free.add('train_cfg.max_epochs')
    return [change for change in changes if change[0] not in free]


def _settings(cfg: Mapping) -> dict:
    """What is compared, by section."""
    train_cfg, optim_wrapper = cfg.get('train_cfg') or {}, cfg.get('optim_wrapper') or {}
    scaling = cfg.get('auto_scale_lr') or {}
    settings = dict(
        model=cfg.get('model'),
        data_preprocessor=cfg.get('data_preprocessor'),
        train_dataloader=cfg.get('train_dataloader'),
        optim_wrapper={k: v for k, v in optim_wrapper.items() if k not in PRECISION},
        param_scheduler=schedules_of(cfg),
        auto_scale_lr=scaling if scaling.get('enable') else None,
        train_cfg={k: train_cfg.get(k) for k in ('max_epochs', 'max_iters')},
        randomness={'seed': (cfg.get('randomness') or {}).get('seed')},
    )
    settings = {name: _without(value, FREE.get(name, ())) for name, value in settings.items()}
    for hook in hooks_of(cfg):
        if is_hook(hook, TRAINING_HOOKS):
            name = str(hook['type'])
            name += '+' * sum(key.startswith(name) for key in settings)
            settings[name] = _without(hook, FREE['hooks'])
    return settings


def _reaches_the_end(schedule: Mapping, *configs: Mapping) -> bool:
    """Whether a schedule is made for the number of epochs of one of the configs."""
    shortest = min((cfg.get('train_cfg') or {}).get('max_epochs') or 0 for cfg in configs)
    if 'end' in schedule:  # one in iterations may reach anywhere
        return schedule['end'] >= shortest * schedule.get('by_epoch', True)
    # the run's; these continue as they are
    return not str(schedule.get('type')).startswith(('Step', 'MultiStep', 'Exponential'))


def _images_of_step(cfg: Mapping) -> int:
    """Images that a process gives to a step of the optimizer."""
    accumulated = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    return (cfg.get('train_dataloader') or {}).get('batch_size', 0) * accumulated


def _without(value: object, free: set[str]) -> object:
    """Without the free entries at any depth; tuples become lists."""
    if isinstance(value, Mapping):
        return {key: _without(item, free) for key, item in value.items() if key not in free}
    if isinstance(value, (list, tuple)):
        return [_without(item, free) for item in value]
    return value


def _compare(old: object, new: object, place: tuple) -> Iterator[tuple[str, object, object]]:
    """The differences, with their places; an entry that is missing is None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from _compare(old.get(key), new.get(key), (*place, key))
    elif all(map(_is_list_of_dicts, (old, new))) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new)):
            yield from _compare(*pair, (*place, index))
    elif old != new:
        yield '.'.join(map(str, place)), old, new


def _is_list_of_dicts(value: object) -> bool:
    """Whether each of several parts has names to compare by."""
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
