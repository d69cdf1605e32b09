"""Does a run that resumes have the config that it began with?"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mlic.apis.open_run import data_classes
from mlic.engine.checkpoints.launches import (
    find_of_run,
    info_of,
    position_of,
    recorded_best,
)
from mlic.engine.checkpoints.matching import class_difference, class_names_of
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.config.device import num_processes
from mlic.engine.config.sections import hooks_of, is_hook
from mlic.engine.hooks.stage_restart_hook import NO_BEST, StageRestartHook
from mlic.engine.runner.settings import changed_settings
from mlic.installation import command_words
from mlic.literals import parse_literals
from mlic.registries import name_classes


def check_resume(cfg: Config, config: str | Path) -> None:
    """Compare a config with that of the checkpoint ``cfg.load_from``, which is not executed.

    Each difference that training would ignore or half obey is printed, by one process.

    Raises:
        SystemExit: If there are such differences, in settings or classes, or if the best checkpoint
            that the second stage would start from is gone.
    """
    path = cfg.load_from
    if '://' in path:
        content = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    else:
        content = read_checkpoint(path, mmap=True)
    lines = []
    difference = class_difference(
        class_names_of(content), data_classes(cfg.train_dataloader.dataset)
    )
    if difference:
        lines.append(f'classes: {difference}')
    trained_on = (content.get('rank_buffers') or {}).get('world_size')
    is_first = os.environ.get('RANK', '0') == '0'
    try:
        stored = parse_literals(content['meta']['cfg'])
        name_classes(stored)
        processes = trained_on, num_processes(cfg.get('launcher'))
        changes = changed_settings(stored, cfg.to_dict(), processes)
    except (AttributeError, KeyError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        changes = []
        if is_first:
            print(
                f'warning: {path} has no config of plain values, settings are not compared: '
                f'{type(error).__name__}: {error}'
            )
    lines += [
        f'{name}: {_short(old)} in the checkpoint, {_short(new)} in the config'
        for name, old, new in changes
    ]
    if not lines:
        _check_best(cfg, content)
        return
    if is_first:
        print('\n'.join(lines))
    copy = Path(path).with_name(Path(config).name)  # the Runner leaves one
    own = copy if copy.is_file() and not copy.samefile(config) else 'CONFIG'
    again = [*command_words('train.py'), str(own), '--work-dir', str(cfg.work_dir), '--resume']
    raise SystemExit(
        f'{path} cannot be resumed with this config: {len(lines)} of its settings would be ignored '
        'or only partly obeyed (listed above). For a new training from its weights, instead of '
        '--resume: '
        f'--work-dir ANOTHER --cfg-options load_from={path}. To finish the run as it began: '
        f'{shlex.join(again)}' + ', with its own config' * (own == 'CONFIG')
    )


def _check_best(cfg: Config, content: Mapping) -> None:
    """Refuse a run whose first stage is to end in a best checkpoint that is gone."""
    info, epoch = info_of(content), (content.get('meta') or {}).get('epoch')
    path = recorded_best(info)
    needs_best = any(
        is_hook(hook, StageRestartHook)
        and hook.get('start_from') == 'best'
        and not (isinstance(epoch, int) and epoch >= hook.get('begin', 0))
        for hook in hooks_of(cfg)
    )
    if not needs_best or 'stage' in info or path is None or '://' in path:
        return
    if not find_of_run(path, position_of(content), [cfg.work_dir, Path(cfg.load_from).parent]):
        raise SystemExit(NO_BEST.format(path, cfg.work_dir))


def _short(value: object) -> str:
    """A value in one line of limited length."""
    text = 'nothing' if value is None else ' '.join(repr(value).split())
    return text if len(text) <= 100 else text[:97] + '...'
