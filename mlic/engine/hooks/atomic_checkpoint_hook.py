"""Checkpoints that a crash or a full disk leaves whole."""

import os
import time
from collections import deque
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.runner.checkpoint import weights_to_cpu
from mmpretrain.registry import HOOKS

from mlic.engine.checkpoints.launches import (
    LAUNCHES,
    Launch,
    Position,
    find_of_run,
    is_of_run,
    launches_of,
    position_of,
)
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.checkpoints.search import LAST, LAST_LAUNCH, last_launch
from mlic.engine.mmengine_internals import has_loaded, is_resuming, source_of_weights
from mlic.files import PARTIAL, atomic_write, write_json

KEPT = 'keep_ckpt_ids'  # mmengine's, in the message hub


@register_backend('mlic_atomic')
class AtomicBackend(LocalBackend):
    """mmengine's local files, written by :func:`atomic_write`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, all or nothing."""
        with atomic_write(filepath) as file:
            file.write(obj)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but a crash or a full disk leaves a good checkpoint.

    What differs from mmengine's:

    - a checkpoint and ``last_checkpoint`` are written under another name, flushed to the disk and
      renamed, in this order;
    - the previous checkpoint, and the previous best one, are deleted only after that
      (mmengine's deletes them first);
    - what an interrupted run left half-written is removed at the start;
    - a checkpoint records the launches of its run, and ``last_launch`` those of the last, by which
      ``find_resumable`` tells runs apart; a new run takes an older one's ``last_checkpoint`` away;
    - files of another run in the folder are neither taken for this one's nor deleted.

    Only for checkpoints on a file system; in an object store mmengine's way is kept.

    Args:
        *args, **kwargs: As mmengine's, which would pass on others to the first save.

    Raises:
        TypeError: If there is no such argument.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', interval=5))
        >>> HOOKS.build(default_hooks['checkpoint']).interval
        5
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for name in self.args:
            raise TypeError(f'{type(self).__name__} got an unexpected keyword argument {name!r}')

    def before_train(self, runner: Runner) -> None:
        """mmengine's preparations, and a clean folder."""
        hub = runner.message_hub
        backend = get_file_backend(self.out_dir or runner.work_dir, backend_args=self.backend_args)
        is_plain = not self.backend_args and self.file_client_args is None
        self._is_local = is_plain and type(backend) is LocalBackend
        is_counting = self._is_local and self.max_keep_ckpts > 0
        # mmengine would delete files of these names
        kept = hub.pop_info(KEPT, []) if is_counting else []
        super().before_train(runner)
        if not self._is_local:
            return
        self._work_dir = runner.work_dir
        self.backend_args = dict(backend='mlic_atomic')
        self.file_backend = _PatientBackend(Path(self.out_dir))
        source = ''  # of a new run
        if is_resuming(runner) and has_loaded(runner):
            source = source_of_weights(runner) or find_latest_checkpoint(runner.work_dir)
        run = self._launch(runner, source)
        self._find_best(runner, run, source)
        if source:
            # a best score found before the first save, in a validation that was missed, is saved
            self.last_ckpt = hub.runtime_info.get('last_ckpt')
        if is_counting:
            paths = {step: Path(self.out_dir, self.filename_tmpl.format(step)) for step in kept}
            kept = [step for step, path in paths.items() if is_of_run(path, run)]
            for step in kept[: -self.max_keep_ckpts]:
                self.file_backend.remove(str(paths[step]))
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            hub.update_info(KEPT, list(self.keep_ckpt_ids))
        if is_main_process():
            self.file_backend.remove_waiting(self._in_use())
            left = [*Path(self.out_dir).glob(f'*.pth*{PARTIAL}')]
            partial = f'{LAST}*{PARTIAL}', f'{LAST_LAUNCH}*{PARTIAL}'
            for name in (*partial, *([] if source else [LAST])):
                left += Path(self._work_dir).glob(name)
            for file in left:
                file.unlink()
                runner.logger.warning(f'{file} is of an earlier run and was removed')
            # a kill may come before the first save
            write_json(Path(self._work_dir, LAST_LAUNCH), run.launches, indent=None)
            if source:
                self._point_to(os.path.abspath(source) if Path(source).is_file() else source)

    def _launch(self, runner: Runner, source: str) -> Position:
        """Note a launch, of a new run if there is no source; where the run stands."""
        before, iteration = [], 0
        if source:
            before, iteration = launches_of(runner.message_hub.runtime_info), None
        if source and Path(source).is_file():
            # not the runner's: epochs may have another length now
            iteration = position_of(read_checkpoint(source, mmap=True)).iterations
        last = last_launch(runner.work_dir)
        # each has a time of its own, also after a clock was set back
        earlier = [*before, *(last.launches if last else [])]
        now = max([time.time(), *(launch.time + 1 for launch in earlier)])
        launches = [*before, Launch(now, iteration)]
        runner.message_hub.update_info(LAUNCHES, [list(launch) for launch in launches])
        return Position(launches, runner.iter)

    def _find_best(self, runner: Runner, run: Position, source: str) -> None:
        """Let the best checkpoints be those of this run, also if it was moved or copied here."""

        def find(key: str, path: str | None) -> str | None:
            found = path and find_of_run(path, run, (self.out_dir, Path(source).parent))
            if found:
                runner.message_hub.update_info(key, found)
            elif path:
                runner.logger.warning(
                    f'{path}, the best checkpoint so far, is missing, or a file of another run: '
                    'only a better one is saved'
                )
            return found

        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = find('best_ckpt', self.best_ckpt_path)
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = find(f'best_ckpt_{key}', path)

    def _point_to(self, checkpoint: str | Path) -> None:
        """Let ``last_checkpoint`` name a checkpoint."""
        with atomic_write(Path(self._work_dir, LAST)) as file:
            file.write(str(checkpoint).encode())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Weights of the GPU, such as those that EMAHook puts in, are saved as the CPU's."""
        for key in ('state_dict', 'ema_state_dict'):
            if key in checkpoint:
                checkpoint[key] = weights_to_cpu(checkpoint[key])

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, point to the new checkpoint, and only then delete those it replaces."""
        if not self._is_local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            # the checkpoint names the one that it replaces, too: a resumed run removes that one if
            # this run is killed before it does
            runner.message_hub.update_info(KEPT, [*self.keep_ckpt_ids, step])
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                oldest = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                self.file_backend.remove(str(Path(self.out_dir) / oldest))
            self.keep_ckpt_ids.append(step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        if is_main_process():
            self._point_to(self.last_ckpt)
            self.file_backend.remove_waiting(self._in_use())

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """mmengine's; the former best goes when the new one, and the pointer to it, are there."""
        super()._save_best_checkpoint(runner, metrics)
        if self._is_local and is_main_process():
            self.file_backend.remove_waiting(self._in_use())

    def _in_use(self) -> set[str]:
        """The checkpoints that must stay, whatever was to be removed when they were written."""
        best = [getattr(self, 'best_ckpt_path', None)]
        best += getattr(self, 'best_ckpt_path_dict', {}).values()
        return {self.last_ckpt, *filter(None, best)}


class _PatientBackend(LocalBackend):
    """Local files, of which the removal waits until it is called for; only those of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: list[str] = []

    def remove(self, filepath: str) -> None:
        """Note a file that is to be removed."""
        self.waiting.append(str(filepath))

    def remove_waiting(self, keep: set[str]) -> None:
        """Remove the files that wait, except those to keep."""
        for path in map(Path, set(self.waiting) - keep):
            if path.parent == self.folder:  # never another run's
                path.unlink(missing_ok=True)
        self.waiting.clear()
