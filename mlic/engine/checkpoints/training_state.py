"""Whether what a checkpoint holds besides weights fits the run that resumes from it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.optim import OptimWrapper, _ParamScheduler
from torch import Tensor

from .reading import CheckpointError

# what optimizers keep of each parameter, in the parameter's shape
OF_SHAPE = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg')
NUMBER = (int, float)


@contextmanager
def resuming_from(path: str) -> Iterator[None]:
    """Turn what mmengine and torch raise of a checkpoint's parts into one line.

    Raises:
        CheckpointError: Naming the file, instead of any error of Python's own kinds.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if type(error).__module__ != 'builtins':  # made for people, by this project
            raise
        raise CheckpointError(
            f'cannot resume from {path}: {type(error).__name__}: {error}'
        ) from error


def check_schedules(schedulers: Sequence[_ParamScheduler], own: Sequence[dict], path: str) -> None:
    """CheckpointError if schedules have taken over what is not a state of theirs.

    Args:
        schedulers (Sequence[_ParamScheduler]): As resumed.
        own (Sequence[dict]): Their states before that.
        path (str): The checkpoint, for the message.
    """
    for scheduler, before in zip(schedulers, own):
        for key, value in vars(scheduler).items():
            old = before.get(key)
            known = key in before or not hasattr(type(scheduler), key)
            both_numbers = isinstance(value, NUMBER) and isinstance(old, NUMBER)
            if not known or not (old is None or both_numbers or isinstance(value, type(old))):
                raise CheckpointError(
                    f'cannot resume from {path}: {key} of {type(scheduler).__name__} is '
                    f'{value!r:.99}'
                )


def check_optimizer(wrapper: OptimWrapper, path: str) -> None:
    """CheckpointError if an optimizer's state is that of other parameters."""
    optimizer = getattr(wrapper, 'optimizer', None)
    for group in optimizer.param_groups if optimizer else ():
        if not isinstance(group.get('lr'), (*NUMBER, Tensor)):
            raise CheckpointError(
                f'cannot resume from {path}: a learning rate is {group.get("lr")!r:.99}'
            )
        for parameter in group['params']:
            for name in OF_SHAPE:
                value = optimizer.state.get(parameter, {}).get(name, parameter)
                if value is not None and getattr(value, 'shape', None) != parameter.shape:
                    raise CheckpointError(
                        f'cannot resume from {path}: its optimizer state belongs to other weights '
                        f'({name} for a weight of shape {tuple(parameter.shape)})'
                    )
