"""The Runners of the tools: one that tests, and one that trains."""

import logging
from unittest.mock import patch

import torch
from mmengine import dist
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.runner import runner as runner_module
from torch import nn

from mlic.engine.checkpoints.training_state import check_optimizer, resuming_from
from mlic.engine.hooks.called_parts_hook import CalledPartsHook
from mlic.engine.mmengine_internals import loading_quietly, log_file, unwrap
from mlic.engine.optimizers.paramwise import check_clipping, check_paramwise
from mlic.models.given_labels import check_takes_given

from ..config.monitored import check_monitored, check_names
from .compiled_parts import compile_parts
from .console import ConsoleFilter, name_once_if_full
from .epochs import of_two_iterations
from .evaluation_loops import MultiLabelTestLoop, evaluation_loop
from .folder_lock import FolderInUseError, lock_folder
from .recomputed_parts import recompute_parts
from .tta import TTA

# modes of torch.compile that record CUDA graphs
CUDA_GRAPHS = ('reduce-overhead', 'max-autotune')


class ConsoleRunner(Runner):
    """mmengine's Runner, with :class:`ConsoleFilter` on its terminal.

    ``channels_last = True`` in the config lays out weights and feature maps with the channels
    last, before DDP arranges its buckets by them. ``compiled_parts = ['backbone', 'neck']`` sends
    these through ``torch.compile`` in training (:func:`compile_parts`), and
    ``activation_checkpointing = ['backbone.layers']`` computes activations again instead of keeping
    them (:func:`recompute_parts`). The numbers stay the same up to rounding, and so do checkpoints.

    Attributes:
        tta (TTA): Test-time augmentation of :meth:`test`, to be set before it. None at first.
        known (float, optional): Percent of each image's labels that :meth:`test` gives the model
            (:func:`give_share`), to be set before it. None at first.
    """

    tta = TTA()
    known: float | None = None
    shows_tables = True

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Lay out the weights, compile parts, and wrap the model as mmengine does.

        Raises:
            ValueError: If CUDA graphs would overwrite the gradients that accumulation adds up.
        """
        if self.cfg.get('channels_last'):
            model = model.to(memory_format=torch.channels_last)
        options = self.cfg.get('compile_options') or {}
        parts = self.cfg.get('compiled_parts') or ()
        accumulated = (self.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
        if parts and accumulated > 1 and options.get('mode') in CUDA_GRAPHS:
            raise ValueError(
                f'compile_options.mode={options["mode"]} replays CUDA graphs, which overwrite the '
                f'gradients that accumulative_counts={accumulated} adds up: leave out one of them'
            )
        compile_parts(model, parts, **options)
        return super().wrap_model(model_wrapper_cfg, model)

    def train(self) -> nn.Module:
        """Train as mmengine does, but for its activation checkpointing.

        Raises:
            ValueError: If it is of a compiled part, or within one: only one would have an effect.
        """
        recomputed = self.cfg.get('activation_checkpointing') or ()
        for name in [recomputed] if isinstance(recomputed, str) else recomputed:
            part = name.split('.')[0]
            if part in (self.cfg.get('compiled_parts') or ()):
                raise ValueError(
                    f'compiled_parts names {part!r}, and activation_checkpointing {name!r}: only '
                    'one of them would have an effect, leave out the other'
                )
        with patch.object(runner_module, 'turn_on_activation_checkpointing', recompute_parts):
            return super().train()

    def register_hooks(self, *args, **kwargs) -> None:
        """The hooks of the config, and one that looks whether parts that it names are called."""
        super().register_hooks(*args, **kwargs)
        if self.cfg.get('compiled_parts') or self.cfg.get('activation_checkpointing'):
            self.register_hook(CalledPartsHook(), 'VERY_HIGH')

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """The loop of validation, which obeys the config's ``eval_precision``."""
        return super().build_val_loop(evaluation_loop(loop, 'val', self.cfg))

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """The loop of testing, likewise, with the augmentation and the known labels.

        Raises:
            ValueError: If some are known, and the config's loop or model cannot use them.
        """
        loop = super().build_test_loop(evaluation_loop(loop, 'test', self.cfg, self.tta))
        if self.known is not None:
            check_takes_given(unwrap(self.model), f'--known {self.known}')
            if not isinstance(loop, MultiLabelTestLoop):
                raise ValueError(
                    f'test_cfg.type {type(loop).__name__} does not support --known {self.known}: '
                    'remove the type'
                )
            loop.known = self.known
        return loop

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """The metrics of a loop, as mmengine builds them; see :func:`check_names`."""
        evaluator = super().build_evaluator(evaluator)
        check_names(evaluator.metrics)
        return evaluator

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """The logger, as mmengine builds it; see :func:`name_once_if_full`."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                name_once_if_full(handler)
            if type(handler) is logging.StreamHandler:
                handler.addFilter(ConsoleFilter(handler, log_file(logger), self.shows_tables))
        return logger

    def load_checkpoint(self, *args, **kwargs) -> dict:
        """Load as mmengine does; its log says what, without a second line."""
        with loading_quietly():
            return super().load_checkpoint(*args, **kwargs)


class TrainingRunner(ConsoleRunner):
    """A :class:`ConsoleRunner` that has its work directory for itself: see :func:`lock_folder`.

    What it watches in its validations has to be there: see :func:`check_monitored`.

    Raises:
        FolderInUseError: On all ranks, before anything is written, if another run is there.
    """

    shows_tables = False
    _has_trained = False

    def setup_env(self, env_cfg: dict) -> None:
        """Start the processes, as mmengine does, and lock the work directory on rank 0.

        Raises:
            FolderInUseError: If another training writes there. All ranks raise it.
        """
        super().setup_env(env_cfg)
        self._lock_work_dir()

    def _lock_work_dir(self) -> None:
        refusal = [None]
        if dist.is_main_process():
            try:
                self._lock = lock_folder(self.work_dir)
            except FolderInUseError as error:
                refusal = [f'{error}: wait until it ends, or choose another --work-dir']
        dist.broadcast_object_list(refusal)
        if refusal[0]:
            raise FolderInUseError(refusal[0])

    def train(self) -> nn.Module:
        """Train; after it, however it ends, another process may have the work directory.

        Raises:
            FolderInUseError: If it is called again, and another has it.
        """
        if self._has_trained:
            self._lock_work_dir()
        try:
            return super().train()
        finally:
            self._has_trained = True
            if getattr(self, '_lock', None):
                self._lock.close()

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """The optimizer as mmengine builds it; see :func:`check_paramwise`.

        Raises:
            ValueError: If clipping would fail, which is called after the first backward pass.
        """
        if isinstance(optim_wrapper, dict):
            check_clipping(optim_wrapper)
            for line in check_paramwise(optim_wrapper, unwrap(self.model)):
                self.logger.warning(line)
        return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: dict | list) -> list | dict:
        """Build schedules as mmengine does, but see :func:`of_two_iterations`."""
        if isinstance(scheduler, dict) and 'type' in scheduler:  # others are of several optimizers
            scheduler = [scheduler]
        if isinstance(scheduler, (list, tuple)):
            length = len(self.train_dataloader)
            scheduler = [
                of_two_iterations(one, length) if isinstance(one, dict) else one
                for one in scheduler  # built ones are given at resume
            ]
        return super().build_param_scheduler(scheduler)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call the hooks, after a look at the metrics that some of them watch."""
        if fn_name == 'before_train' or (fn_name == 'after_val_epoch' and kwargs.get('metrics')):
            check_monitored(self, kwargs.get('metrics'))
        super().call_hook(fn_name, **kwargs)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume as mmengine does; a checkpoint whose parts do not fit is one line."""
        with resuming_from(filename):
            super().resume(filename, *args, **kwargs)
        check_optimizer(self.optim_wrapper, filename)
