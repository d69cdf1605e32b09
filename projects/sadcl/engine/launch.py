"""What the command line tools share: start-up on CPU, checks of the data, errors in one line."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError, URLError

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from .checkpoint_io import TRUST, is_trusted

DATASETS_DOCUMENT = 'docs/datasets.md'
PACKAGE = str(Path(__file__).resolve().parents[1])
# seconds that a rank waits for the others; between epochs rank 0 alone writes and averages
HANG_TIMEOUT = 600
INSTEAD_OF_A_DOWNLOAD = (
    'Without a network, get it elsewhere and give its path: init_cfg.checkpoint for a backbone, '
    'load_from for a model'
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End a tool with one line and exit status 1 where the message was made for people.

    Those are this package's own errors and the system's about files; what else goes wrong keeps
    its traceback. Under torchrun the error of the rank that failed first is repeated at the end.
    Where nothing went wrong, the process group is left in order.

    Raises:
        SystemExit: With the message, and the rank where there are several.
    """
    try:
        yield
    except Exception as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        # a collective fails because another rank has: that one's error is the reason
        is_victim = '/torch/distributed/' in Path(raised_in).as_posix()
        if 'TORCHELASTIC_ERROR_FILE' in os.environ and not is_victim:
            get_error_handler().record_exception(error)
        if not _is_for_people(error, raised_in):
            raise
        sys.exit(_one_line(error))
    if torch_dist.is_available() and torch_dist.is_initialized():
        _leave_process_group()


def _leave_process_group() -> None:
    """Leave the group; under torchrun with gloo the process ends here, with status 0.

    DDP keeps gloo's threads alive to the end of the process. One that still lets go of a tensor
    then asks for the interpreter's lock, and Python before 3.14 ends a thread that asks while the
    interpreter shuts down: C++ answers with an abort, after all the work was done. So the exit
    handlers run, and the interpreter's own end, which only frees memory, is left out.
    """
    ends_here = torch_dist.get_backend() == 'gloo' and 'TORCHELASTIC_RUN_ID' in os.environ
    torch_dist.destroy_process_group()
    if ends_here:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _is_for_people(error: Exception, raised_in: str) -> bool:
    """Whether the message alone says what to do."""
    if isinstance(error, OSError) or type(error).__module__.startswith('projects.'):
        return True
    return isinstance(error, (RuntimeError, TypeError, ValueError)) and raised_in.startswith(
        PACKAGE
    )


def _one_line(error: Exception) -> str:
    """The message; of an error in a loader's worker, the last line of the worker's traceback."""
    text = _describe(error)
    if 'Original Traceback' in text:
        text = text.splitlines()[-1].partition(': ')[2]
    several = os.environ.get('WORLD_SIZE', '1') != '1' and 'RANK' in os.environ
    where = f' (rank {os.environ["RANK"]})' if several else ''
    return f'error{where}: {" ".join(text.split()) or type(error).__name__}'


def _describe(error: Exception) -> str:
    """The message; of a file that is not there or not reached, what it is and what to do."""
    if isinstance(error, HTTPError):
        return f'{error.url} could not be downloaded: {error}. {INSTEAD_OF_A_DOWNLOAD}'
    if isinstance(error, URLError):
        return f'a file could not be downloaded: {error.reason}. {INSTEAD_OF_A_DOWNLOAD}'
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist'
    return str(error).strip()


def adapt_to_device(cfg: Config, log=print) -> None:
    """Let a config written for GPUs run where there is none; changes ``cfg``.

    Loaders without workers keep none between epochs (torch refuses both).

    With CUDA, AdamW runs fused, and bfloat16 becomes float16 on cards that have none.

    On a machine without CUDA a launched process group uses gloo (mmengine's own start would call
    CUDA), DDP gets no device ids, and ``AmpOptimWrapper`` becomes ``AutocastOptimWrapper``.

    A rank that waits longer than ``env_cfg.dist_cfg.timeout`` seconds (600 if not set) for the
    others ends with an error, in place of waiting for ever.

    Args:
        cfg (Config): With ``launcher`` set.
        log (callable): Takes a line of notice.

    Raises:
        SystemExit: If slurm or MPI is to start processes without CUDA.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher != 'none':
        cfg.env_cfg.dist_cfg.setdefault('timeout', HANG_TIMEOUT)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader and not loader.get('num_workers'):
            loader.persistent_workers = False
    is_first = os.environ.get('RANK', '0') == '0'
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if torch.cuda.is_available():
        if optim_wrapper.get('optimizer', {}).get('type') == 'AdamW':
            optim_wrapper.optimizer.setdefault('fused', True)
        if optim_wrapper.get('dtype') == 'bfloat16' and not _has_bfloat16():
            optim_wrapper.dtype = 'float16'
            if is_first:
                log('This GPU has no bfloat16: mixed precision in float16.')
        return
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        optim_wrapper.type = 'AutocastOptimWrapper'
        for name in ('loss_scale', 'dtype'):
            optim_wrapper.pop(name, None)
        if is_first:
            log('No CUDA: mixed precision falls back to bfloat16 autocast on the CPU.')
    if launcher == 'none':
        return
    if launcher != 'pytorch':
        raise SystemExit(f'--launcher {launcher} needs CUDA; on the CPU take tools/dist_train.sh')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
    )
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    if not torch_dist.is_initialized():
        if is_first:
            log(f'No CUDA: {os.environ.get("WORLD_SIZE", "1")} processes on the CPU with gloo.')
        timeout = timedelta(seconds=cfg.env_cfg.dist_cfg.timeout)
        torch_dist.init_process_group('gloo', timeout=timeout)


def _has_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16; torch's own answer counts a slow emulation, too."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability()[0] >= 8


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Stop with one line if a data set's files are not there, or would run code when read.

    Args:
        cfg (Config): With ``<split>_dataloader`` for each split.
        splits (tuple[str]): Of 'train', 'val' and 'test'.

    Raises:
        SystemExit: Naming the missing path and the document that tells how to get it, or a
            list of images that is a pickle.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        for path in _paths(loader.dataset):
            if not path.exists():
                raise SystemExit(
                    f'{split} data not found: {path} does not exist (in {Path.cwd()}). '
                    f'{DATASETS_DOCUMENT} tells how to get the data and where they go.'
                )
            if path.suffix in ('.pkl', '.pickle') and not is_trusted():
                raise SystemExit(
                    f'{split} data: {path} is a pickle, and reading one can run any code: give a '
                    f'JSON file, or set {TRUST}=1 if you trust it'
                )


def _paths(dataset: Config) -> list[Path]:
    """The files and folders that a data set's config names."""
    if '://' in (dataset.get('data_root') or ''):
        return []
    root = Path(dataset.get('data_root') or '.')
    names = [dataset.get('ann_file'), dataset.get('image_set_path')]
    prefix = dataset.get('data_prefix') or {}
    names += [prefix] if isinstance(prefix, str) else list(prefix.values())
    paths = [root] if dataset.get('data_root') else []
    return paths + [root / name for name in names if name and '://' not in name]
