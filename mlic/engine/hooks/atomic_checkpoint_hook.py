"""Checkpoints that a crash or a full disk leaves whole."""

import time
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmpretrain.registry import HOOKS

from mlic.engine.checkpoints.search import LAST, LAUNCHES, launches_of
from mlic.engine.mmengine_internals import is_resuming, source_of_weights
from mlic.files import PARTIAL, atomic_write


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
    - a checkpoint records the launches of its run, by which ``find_resumable`` tells runs apart,
      and a new run takes an older one's ``last_checkpoint`` away.

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
        super().before_train(runner)
        self._is_local = type(self.file_backend) is LocalBackend and not self.backend_args
        if not self._is_local:
            return
        self._work_dir = runner.work_dir
        self.backend_args = dict(backend='mlic_atomic')
        self.file_backend = _PatientBackend(Path(self.out_dir))
        # the best checkpoints are those of this folder, also if the run was moved or copied here
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._here(self.best_ckpt_path)
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = path and self._here(path)
        if is_resuming(runner):
            # a best score found before the first save, in a validation that was missed, is saved
            self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')
        # the first launch stands for the run; a clock that was set back changes no order
        before = launches_of(runner.message_hub.runtime_info)
        before = before or ([0.0] if is_resuming(runner) else [])
        now = max([time.time(), *(launch + 1 for launch in before[-1:])])
        runner.message_hub.update_info(LAUNCHES, [*before, now])
        if is_main_process():
            for name in (f'*.pth{PARTIAL}', LAST + PARTIAL, *([] if before else [LAST])):
                for file in Path(self.out_dir).glob(name):
                    file.unlink()
                    runner.logger.warning(f'{file} is of an earlier run and was removed')
            source = Path(source_of_weights(runner))
            if is_resuming(runner) and source.parent.resolve() == Path(self.out_dir).resolve():
                # a kill may have come before the pointer was moved
                self._point_to(Path(self.out_dir, source.name))

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
            runner.message_hub.update_info('keep_ckpt_ids', [*self.keep_ckpt_ids, step])
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

    def _here(self, path: str) -> str:
        """The same file in this run's folder, if it is there."""
        here = Path(self.out_dir) / Path(path).name
        return str(here) if here.is_file() else path

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
