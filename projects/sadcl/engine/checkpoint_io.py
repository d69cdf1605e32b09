"""Read checkpoints without running anything that they hold."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

WEIGHT_KEYS = ('state_dict', 'state_dict_ema', 'model')


def read_checkpoint(path: str | Path, ours: bool = False) -> Mapping:
    """A file's dict of tensors and plain values; nothing in the file is ever executed.

    Args:
        path (str | Path): The checkpoint.
        ours (bool): Accept the log that mmengine's checkpoints carry, too. Defaults to False.

    Raises:
        ValueError: If the file is no checkpoint, or holds other objects.
    """
    allowed = _allow_log() if ours else nullcontext()
    try:
        with allowed:
            content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if not found:
            raise ValueError(f'{path} is not a checkpoint that torch can read') from error
        raise ValueError(
            f'{path} holds {found[1]} beside its weights, which only code from the file itself '
            'could rebuild. If you trust the file, keep its weights only, and take FILE instead: '
            'python -c "import torch; '
            f"c = torch.load('{path}', map_location='cpu', weights_only=False); "
            f"torch.save({{k: c[k] for k in {WEIGHT_KEYS} if k in c}}, 'FILE')\""
        ) from error
    except (EOFError, RuntimeError) as error:
        raise ValueError(f'{path} is not a checkpoint that torch can read') from error
    if not isinstance(content, Mapping):
        raise ValueError(f'{path} must hold a dict, got {type(content).__name__}')
    return content


def _allow_log() -> AbstractContextManager:
    """Let torch.load rebuild mmengine's log: numbers, arrays and four methods by their names."""
    if digit_version(torch.__version__) < digit_version('2.6'):
        return nullcontext()

    def get_statistic(owner: type, name: str):
        if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
            raise pickle.UnpicklingError(f'GLOBAL getattr of {name}')
        return getattr(owner, name)

    array = np.zeros(1)
    rebuild = (array.__reduce__()[0], array[0].__reduce__()[0], np.ndarray, np.dtype)
    dtypes = {type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'uint32')}
    return torch.serialization.safe_globals(
        [*rebuild, *dtypes, HistoryBuffer, (get_statistic, 'builtins.getattr')]
    )
