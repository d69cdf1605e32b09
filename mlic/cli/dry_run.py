"""What a training would do, found without training: train.py --dry-run."""

import math

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mlic.apis.open_run import build_model
from mlic.cli.rehearsal import rehearse
from mlic.datasets.wrappers import classes_of
from mlic.engine.checkpoints.initial_weights import initial_weights, look_for_weights
from mlic.engine.config.device import adapt_to_device, num_processes
from mlic.engine.config.launch_checks import (
    LaunchError,
    batch_warning,
    check_end,
    check_even_shares,
    check_head,
    check_normalised_once,
    check_share,
    check_smallest_batch,
    cut_schedules,
)
from mlic.engine.config.options import misspelt_names, set_in_vain
from mlic.engine.hooks.class_count_check_hook import check_class_count
from mlic.engine.hooks.class_info_hook import learn_classes
from mlic.engine.hooks.label_check_hook import check_labels
from mlic.engine.hooks.teachers_hook import open_teachers
from mlic.engine.runner.memory_guess import held_bytes, saved_bytes
from mlic.names import counted

FORWARD = 2  # images of the forward pass that the guess at the memory is made from


def dry_run(cfg: Config) -> None:
    """Build data and model once, in one process, and print "ok" with what was found.

    Two training images go through the model, and two that validate, so that what does not fit
    together fails here, and the run is prepared up to its first epoch.

    Args:
        cfg (Config): Of the run, with the ``launcher`` that would start its processes; changed.

    Raises:
        LaunchError: What ``check_launch`` refuses.
        OSError: If weights are neither on this machine nor can be fetched, or a file of label
            vectors or a teacher is not there.
        ValueError: If a class has no vector in it; and whatever else the run would end with.
    """
    if not cfg.get('train_dataloader'):
        raise LaunchError('train_dataloader is None, and there is nothing to train on')
    processes = num_processes(cfg.launcher)
    weights = [f'{name} {look_for_weights(name)}' for name in initial_weights(cfg)]
    cfg.launcher = 'none'
    adapt_to_device(cfg, log=lambda line: None)
    images, batches, loaders = [], {}, {}
    for split in ('train', 'val'):
        if cfg.get(f'{split}_dataloader'):
            loader = Runner.build_dataloader(cfg[f'{split}_dataloader'], seed=0)
            loaders[split] = loader
            batches[split] = _batches(loader, processes)
            check_share(split, loader, batches[split], processes)
            images.append(f'{len(loader.dataset)} {split}')
            if split == 'train':
                check_even_shares(loader, processes)
    train = loaders['train']
    known = getattr(train.batch_sampler, 'batch_size', None)
    batch_size, warning = known or 1, batch_warning(cfg, known, processes)
    unread = [*cut_schedules(cfg), *misspelt_names(cfg), *set_in_vain(cfg.text)]
    warnings = [*([warning] if warning else []), *unread]
    model = build_model(cfg)
    check_head(model)
    for split, loader in loaders.items():
        check_normalised_once(split, loader, model)
    epochs = cfg.train_cfg.get('max_epochs')
    if epochs:
        check_end(train)
    if train.drop_last or processes == 1:  # or else the last batch is another in each process
        check_smallest_batch(model, train)
    check_class_count(model, train.dataset)
    learned = learn_classes(model, train.dataset)
    learned += open_teachers(model, classes_of(train.dataset))
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    held = held_bytes(cfg, model)
    saved = saved_bytes(cfg, model, _examples(train))
    saved = saved * batch_size // min(FORWARD, len(train.dataset))
    if 'val' in loaders:
        with torch.no_grad():
            model.eval().val_step(_examples(loaders['val']))
    warnings += rehearse(cfg, model, batches['train'])
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    in_all = epochs and f', {counted(epochs, "epoch")}, {epochs * batches["train"]} in all'
    classes = classes_of(train.dataset) or ()
    print(
        'ok',
        f'images: {", ".join(images)}; {counted(len(classes) or "unknown", "class")}',
        f'batch: {counted(processes, "process")} x {counted(batch_size, "image")} x '
        f'{accumulated} accumulated = {processes * batch_size * accumulated} a step',
        f'iterations: {batches["train"]} an epoch{in_all or ""}',
        f'parameters: {sum(p.numel() for p in parameters):,}, {trained:,} of them trained',
        *(f'weights: {line}' for line in weights),
        *learned,
        f'memory of a process (a guess): {_size(held + saved)}, which is {_size(held)} '
        f'for weights, gradients, optimizer and average and {_size(saved)} for what '
        f'{batch_size} images leave for the backward pass; work space and CUDA come on top',
        *(f'warning: {line}' for line in warnings),
        sep='\n',
    )


def _examples(loader: DataLoader) -> dict:
    """A batch of a loader's first images; ValueError if their labels are wrong."""
    few = range(min(FORWARD, len(loader.dataset)))
    batch = loader.collate_fn([loader.dataset[i] for i in few])
    check_labels(batch, loader)
    return batch


def _batches(loader: DataLoader, processes: int) -> int:
    """Batches of an epoch in each of several processes; the loader is of one."""
    if loader.batch_size is None:  # a batch sampler of its own
        return math.ceil(len(loader) / processes)
    share = math.ceil(len(loader.sampler) / processes)
    return share // loader.batch_size if loader.drop_last else math.ceil(share / loader.batch_size)


def _size(number: int) -> str:
    """Bytes in words."""
    return f'{number / 1e9:.1f} GB' if number >= 1e9 else f'{number / 1e6:.0f} MB'
