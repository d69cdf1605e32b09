"""A run up to its first epoch, in a folder that is removed again: for train.py --dry-run."""

import io
import tempfile
from contextlib import redirect_stdout
from unittest.mock import patch

from mmengine.config import Config
from mmengine.model import initialize
from mmengine.runner import runner as runner_module
from torch import nn

from mlic.engine.config.launch_checks import check_averages
from mlic.engine.hooks.mid_epoch_resume_hook import MidEpochResumeHook
from mlic.engine.mmengine_internals import (
    keep_weights,
    mark_as_loaded,
    partly_loaded,
    source_of_weights,
    tensors_of,
)
from mlic.engine.runner.tool_runners import TrainingRunner

DONE = ('ClassInfoHook', 'TeachersHook')  # what the model has read by then


class _Reached(Exception):
    """The first epoch."""


class _Rehearsal(TrainingRunner):
    """A run of a model that is there, up to its first epoch, on the CPU."""

    def __init__(self, *args, **kwargs) -> None:
        with patch.object(runner_module, 'get_device', lambda: 'cpu'):
            super().__init__(*args, **kwargs)
        keep_weights(self)

    def load_or_resume(self) -> None:
        """Load what is on this machine; an address was looked for before."""
        if '://' in source_of_weights(self):
            mark_as_loaded(self)
        else:
            super().load_or_resume()

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """End before the first epoch."""
        if fn_name == 'before_train_epoch':
            raise _Reached
        super().call_hook(fn_name, **kwargs)


def rehearse(cfg: Config, model: nn.Module, epoch_length: int) -> list[str]:
    """Build what a run builds, and let its hooks prepare: what a run refuses is refused here.

    Args:
        cfg (Config): Of the run, of one process; stays as it is.
        model (nn.Module): Built from it, with the classes it has learned; may be changed.
        epoch_length (int): Iterations an epoch, of the processes that the run will have.

    Returns:
        list[str]: Warnings.

    Raises:
        Exception: What the run would end with before its first epoch.
    """
    cfg = Config(cfg.to_dict())
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook and hook.get('type') in DONE]:
        del hooks[name]
    cfg.custom_hooks = [
        hook for hook in cfg.get('custom_hooks') or () if hook.get('type') not in DONE
    ]
    cfg.visualizer, cfg.log_level = dict(type='Visualizer'), 'ERROR'
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner_class = type('Rehearsal', (_Rehearsal,), dict(build_model=lambda self, _: model))
        try:
            runner = runner_class.from_cfg(cfg)
            check_averages(runner)
            warnings = _load_files(model)
            for hook in runner.hooks:
                if isinstance(hook, MidEpochResumeHook):
                    hook.epoch_length = epoch_length
            runner.train()
        except _Reached:
            pass
    return warnings


def _load_files(model: nn.Module) -> list[str]:
    """Load what ``init_cfg`` names on this machine; an address was looked for before.

    Returns what to say of files that fit in part.
    """
    said = []
    for part in model.modules():
        named = getattr(part, 'init_cfg', None) or []
        for one in named if isinstance(named, list) else [named]:
            if one.get('type') == 'Pretrained' and '://' not in one['checkpoint']:
                before = tensors_of(part)
                try:
                    with redirect_stdout(io.StringIO()):  # a line of mmengine's, past its log
                        initialize(part, one)
                except AssertionError as error:  # no weight begins with the prefix
                    raise ValueError(f'{one["checkpoint"]}: {error}') from error
                said.append(partly_loaded(part, before, one['checkpoint']))
    return [*filter(None, said)]
