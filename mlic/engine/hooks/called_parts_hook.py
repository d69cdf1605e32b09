"""A part of a model that is to run in another way, and that training does not call."""

from collections.abc import Iterator
from operator import attrgetter

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mlic.engine.mmengine_internals import unwrap

RECOMPUTED = 'activation_checkpointing'


class CalledPartsHook(Hook):
    """End a run after its first iteration if it asks for what has no effect.

    ``compiled_parts`` and ``activation_checkpointing`` change the call of a part. Of a neck or a
    head training may call the ``loss`` alone, which calls what is in the part, but not the part.

    Raises:
        ValueError: If that is so. It names what is called, and can be recomputed instead.
    """

    def __init__(self) -> None:
        self.called: dict[str, None] | None = None  # names, in the order of the first iteration
        self.handles: list = []

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Listen to what the first iteration calls."""
        if self.called is not None:
            return
        self.called = {}
        for key, name, part in _parts_with_loss(runner):
            for child, module in part.named_children() if key == RECOMPUTED else ():
                if next(module.parameters(), None) is not None:
                    self.handles.append(
                        module.register_forward_pre_hook(
                            lambda *_, name=f'{name}.{child}': self.called.update({name: None})
                        )
                    )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Compare."""
        if self.handles is None:
            return
        for handle in self.handles:
            handle.remove()
        self.handles = None
        for key, name, part in _parts_with_loss(runner):
            if not part._compiled_call_impl.is_called:
                inner = [each for each in self.called if each.startswith(f'{name}.')]
                what = f'name {", ".join(inner)} instead' if key == RECOMPUTED else 'leave it out'
                raise ValueError(
                    f'{key} names {name!r}, to no effect: training calls {type(part).__name__}.loss'
                    f' alone: {what}'
                )


def _parts_with_loss(runner: Runner) -> Iterator[tuple[str, str, nn.Module]]:
    """What is to run in another way and has a ``loss``, by the config's key and its name there."""
    for key in ('compiled_parts', RECOMPUTED):
        names = runner.cfg.get(key) or ()
        for name in [names] if isinstance(names, str) else names:
            part = attrgetter(name)(unwrap(runner.model))
            if hasattr(part, 'loss'):
                yield key, name, part
