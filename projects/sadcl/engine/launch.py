"""What the command line tools share: start-up on CPU, checks before the first iteration."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as torch_dist
from mmengine.config import Config

DATASETS_DOCUMENT = 'docs/datasets.md'


def adapt_to_device(cfg: Config, log=print) -> None:
    """Let a config written for GPUs run where there is none; changes ``cfg``.

    Loaders without workers keep none between epochs (torch refuses both).

    On a machine without CUDA a launched process group uses gloo (mmengine's own start would call
    CUDA), DDP gets no device ids, and ``AmpOptimWrapper`` becomes ``AutocastOptimWrapper``.

    Args:
        cfg (Config): With ``launcher`` set.
        log (callable): Takes a line of notice.
    """
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader and not loader.get('num_workers'):
            loader.persistent_workers = False
    if torch.cuda.is_available():
        return
    is_first = os.environ.get('RANK', '0') == '0'
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        optim_wrapper.type = 'AutocastOptimWrapper'
        for name in ('loss_scale', 'dtype'):
            optim_wrapper.pop(name, None)
        if is_first:
            log('No CUDA: mixed precision falls back to bfloat16 autocast on the CPU.')
    if cfg.get('launcher', 'none') == 'none':
        return
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
    )
    cfg.env_cfg.dist_cfg = dict(backend='gloo')
    if not torch_dist.is_initialized():
        if is_first:
            log(f'No CUDA: {os.environ.get("WORLD_SIZE", "1")} processes on the CPU with gloo.')
        torch_dist.init_process_group('gloo')


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Stop with one line if a data set's files are not there.

    Args:
        cfg (Config): With ``<split>_dataloader`` for each split.
        splits (tuple[str]): Of 'train', 'val' and 'test'.

    Raises:
        SystemExit: Naming the missing path and the document that tells how to get it.
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


def find_checkpoint(path: str) -> str:
    """A checkpoint file, or the best (else the latest) one of a work directory.

    Raises:
        SystemExit: If there is none.
    """
    given = Path(path)
    if not given.is_dir():
        if '://' not in path and not given.exists():
            raise SystemExit(f'checkpoint not found: {path} does not exist')
        return path
    best = sorted(given.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    if best:
        return str(best[-1])
    last = given / 'last_checkpoint'
    if last.exists():
        return last.read_text().strip()
    raise SystemExit(f'checkpoint not found: no best_*.pth and no last_checkpoint in {path}')


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
