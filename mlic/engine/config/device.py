"""What a config says of GPUs, adapted to the machine that it runs on."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from mlic.names import counted

# seconds that a rank waits for the others; between epochs rank 0 alone writes and averages
HANG_TIMEOUT = 600
# backbones that tensor cores, or a CPU, compute faster with the channels last
RESNETS = ('ResNet', 'ResNetV1c', 'ResNetV1d', 'ResNeXt', 'SEResNet', 'SEResNeXt', 'RegNet')
CHANNELS_LAST = {'cuda': RESNETS, 'cpu': (*RESNETS, 'EfficientNetLite')}


def adapt_to_device(cfg: Config, log: Callable[[str], None] = print) -> None:
    """Let a config written for GPUs run where there is none; changes ``cfg``.

    Loaders without workers keep none between epochs (torch refuses both). With CUDA they pin
    memory (a thread of theirs takes over a batch while the step before it runs) unless the config
    says something else, and without it they do not.

    ``channels_last`` is True for backbones that it makes faster (``CHANNELS_LAST``) unless the
    config says something else. With CUDA, Adam and AdamW run fused (``FiniteLossHook`` does not
    wait then), and bfloat16 becomes float16 on cards that have none. Where
    ``randomness.deterministic`` is True, cuBLAS is told so, and DDP takes
    ``find_unused_parameters`` unless the config says something else: it arranges gradients anew
    after the first iteration otherwise, also of a resumed run, and the order in which three or more
    processes add them up depends on it.

    On a machine without CUDA a launched process group uses gloo (mmengine's own start would call
    CUDA), DDP gets no device ids, ``sync_bn`` is off (its layers are for GPUs), and
    ``AmpOptimWrapper`` becomes ``AutocastOptimWrapper``.

    A rank that waits longer than ``env_cfg.dist_cfg.timeout`` seconds (600 if not set) for the
    others ends with an error instead of waiting forever.

    Args:
        cfg (Config): With ``launcher`` set.
        log (callable): Takes a line of notice. Defaults to ``print``.

    Raises:
        SystemExit: If slurm or MPI is to start processes without CUDA.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher != 'none':
        cfg.env_cfg.dist_cfg.setdefault('timeout', HANG_TIMEOUT)
        if cfg.get('randomness', {}).get('deterministic'):
            cfg.setdefault('find_unused_parameters', True)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        if not loader.get('num_workers'):
            loader.persistent_workers = False
        if device == 'cuda':
            loader.setdefault('pin_memory', True)
        elif loader.get('pin_memory'):
            loader.pin_memory = False
    backbone = (cfg.get('model') or {}).get('backbone')
    kind = backbone.get('type') if isinstance(backbone, Mapping) else None
    cfg.setdefault('channels_last', kind in CHANNELS_LAST[device])
    say = log if os.environ.get('RANK', '0') == '0' else lambda line: None
    if device == 'cuda':
        _adapt_to_gpu(cfg, say)
    else:
        _adapt_to_cpu(cfg, launcher, say)


def _adapt_to_gpu(cfg: Config, say: Callable[[str], None]) -> None:
    """A fused optimizer, deterministic cuBLAS, and a precision that the card has."""
    optim_wrapper = cfg.get('optim_wrapper') or {}
    optimizer = optim_wrapper.get('optimizer', {})
    other_ways = optimizer.get('foreach') or optimizer.get('differentiable')
    if optimizer.get('type') in ('Adam', 'AdamW') and not other_ways:
        optimizer.setdefault('fused', True)
    if cfg.get('randomness', {}).get('deterministic'):
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if optim_wrapper.get('dtype') == 'bfloat16' and not has_bfloat16():
        optim_wrapper.dtype = 'float16'
        say('This GPU has no bfloat16: mixed precision in float16.')


def _adapt_to_cpu(cfg: Config, launcher: str, say: Callable[[str], None]) -> None:
    """Autocast without a loss scaler, and processes that talk through gloo."""
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        _check_mixed(optim_wrapper)
        optim_wrapper.type = 'AutocastOptimWrapper'
        for name in ('loss_scale', 'dtype'):
            optim_wrapper.pop(name, None)
        say('No CUDA: mixed precision falls back to bfloat16 autocast.')
    if launcher == 'none':
        return
    if launcher != 'pytorch':
        raise SystemExit(f'--launcher {launcher} needs CUDA; on the CPU use tools/dist_train.sh')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        device_ids=None,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    if cfg.pop('sync_bn', None):
        say('No CUDA: batch norm sees the images of its process alone, without sync_bn.')
    if not torch_dist.is_initialized():
        processes = counted(int(os.environ.get('WORLD_SIZE', '1')), 'process')
        say(f'No CUDA: {processes} on the CPU with gloo.')
        timeout = timedelta(seconds=cfg.env_cfg.dist_cfg.timeout)
        torch_dist.init_process_group('gloo', timeout=timeout)


def _check_mixed(optim_wrapper: Mapping) -> None:
    """Refuse what AmpOptimWrapper, which the CPU does not build, would refuse on a GPU."""
    dtype, scale = optim_wrapper.get('dtype'), optim_wrapper.get('loss_scale', 'dynamic')
    names = AmpOptimWrapper.valid_dtypes
    if isinstance(dtype, (str, int, float)) and dtype not in names:
        raise ValueError(
            f'optim_wrapper.dtype={dtype!r}: AmpOptimWrapper takes one of {", ".join(names)}'
        )
    if scale != 'dynamic' and not isinstance(scale, (float, Mapping)):
        raise ValueError(
            f"optim_wrapper.loss_scale={scale!r}: AmpOptimWrapper takes 'dynamic', a float such as "
            '512.0, or a dict for its GradScaler'
        )


def has_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16; torch's own answer counts a slow emulation, too."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability()[0] >= 8


def num_processes(launcher: str | None) -> int:
    """How many processes the launcher starts, before they have found one another."""
    names = dict(pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')
    return int(os.environ.get(names.get(launcher, ''), 1))
