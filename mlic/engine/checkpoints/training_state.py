"""Whether what a checkpoint holds besides weights fits the run that resumes from it."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.optim import OptimWrapper

from .reading import CheckpointError

# what optimizers keep of each parameter, in the parameter's shape
OF_SHAPE = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg')


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


def check_optimizer(wrapper: OptimWrapper, path: str) -> None:
    """CheckpointError if an optimizer's state is that of other parameters."""
    optimizer = getattr(wrapper, 'optimizer', None)
    for group in optimizer.param_groups if optimizer else ():
        for parameter in group['params']:
            for name in OF_SHAPE:
                value = optimizer.state.get(parameter, {}).get(name, parameter)
                if value is not None and getattr(value, 'shape', None) != parameter.shape:
                    raise CheckpointError(
                        f'cannot resume from {path}: its optimizer state belongs to other weights '
                        f'({name} for a weight of shape {tuple(parameter.shape)})'
                    )
