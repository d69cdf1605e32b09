"""Do batch, accumulation, processes and data fit together? Asked before the first iteration."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine import dist
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.models import CrossEntropyLoss, ImageClassifier
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import nn
from torch.utils.data import DataLoader

from mlic.datasets.wrappers import transforms_of
from mlic.engine.mmengine_internals import is_resuming, normalises, source_of_weights, unwrap
from mlic.models.training_parts import parts_of
from mlic.registries import type_name

from .options import misspelt_names, set_in_vain
from .sections import schedules_of

WRAPPER = 'TorchVisonTransformWrapper'  # mmpretrain's, of torchvision's transforms


class LaunchError(ValueError):
    """A run that could not train as it was started; the message is one line."""


def check_launch(runner: Runner) -> None:
    """Check a run that is about to train; it builds the loaders that the run then uses.

    Raises:
        LaunchError: If the head lacks what a run calls or has a loss of one label an image, there
            are two averages of the weights or more processes than images, images are normalised
            twice, the training loader never ends, yields no batch, one that is too small for the
            model, or batches that differ between the processes, or these would start from
            different checkpoints. All ranks raise it.
    """
    check_averages(runner)
    starts = dist.all_gather_object((is_resuming(runner), Path(source_of_weights(runner)).name))
    if len(set(starts)) > 1:
        raise LaunchError(
            f'the processes would start from different checkpoints, (resume, name) = {starts}: the '
            'work directory must be on a disk that all machines share'
        )
    check_head(unwrap(runner.model))
    loaders = dict(train=runner.train_dataloader)
    if runner.val_loop is not None:
        loaders['val'] = runner.val_dataloader
    for split, loader in loaders.items():
        check_share(split, loader, len(loader), runner.world_size)
        check_normalised_once(split, loader, unwrap(runner.model))
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        check_end(runner.train_dataloader)
    check_even_shares(runner.train_dataloader, runner.world_size)
    check_smallest_batch(runner.model, runner.train_dataloader)
    scaling = {**runner.cfg, 'auto_scale_lr': runner.auto_scale_lr}
    batch_size = getattr(runner.train_dataloader.batch_sampler, 'batch_size', None)
    warning = batch_warning(scaling, batch_size, runner.world_size)
    if dist.is_main_process():
        unread = [*misspelt_names(runner.cfg), *set_in_vain(runner.cfg.text)]
        for line in [*([warning] if warning else []), *cut_schedules(runner.cfg), *unread]:
            runner.logger.warning(line)


def check_averages(runner: Runner) -> None:
    """Check that the weights have one average at most; LaunchError if not."""
    averages = [type(hook).__name__ for hook in runner.hooks if isinstance(hook, EMAHook)]
    if len(averages) > 1:  # each would swap the weights with what the other has put there
        raise LaunchError(
            f'custom_hooks have {" and ".join(averages)}, and a validation would mix up their '
            'weights: leave one of them'
        )


def check_head(model: nn.Module) -> None:
    """Check that a head has what training and validation call; LaunchError if not."""
    head = getattr(model, 'head', None)
    missing = [name for name in ('loss', 'predict') if not callable(getattr(head, name, None))]
    is_used = isinstance(model, ImageClassifier) and type(model).loss is ImageClassifier.loss
    if is_used and head is None:
        raise LaunchError('model has no head, which training needs: give it model.head')
    if isinstance(model, ImageClassifier) and head is not None and missing:
        raise LaunchError(
            f'head ({type(head).__name__}) has no {missing[0]}(): let it extend '
            'mlic.models.KnownLabelHead, which has loss() and predict() for a forward() of logits'
        )
    if hasattr(getattr(model, 'data_preprocessor', None), 'unknown') and _decides_for_one(head):
        raise LaunchError(
            f'head ({type(head).__name__}) gives each image one class, and the data preprocessor '
            'prepares any number of labels: use a head such as MultiLabelLinearClsHead'
        )
    losses = getattr(head, 'loss_module', None) or nn.Identity()
    for loss in losses.modules() if isinstance(head, MultiLabelClsHead) else ():
        if isinstance(loss, CrossEntropyLoss) and not loss.use_sigmoid:
            if loss.use_soft and loss is losses:  # shares of the labels: asked for by name
                continue
            raise LaunchError(
                f'the loss of {type(head).__name__} is a CrossEntropyLoss of a softmax, in which '
                'the labels of an image exclude each other, and the scores are sigmoids: set its '
                'use_sigmoid=True'
            )


def _decides_for_one(head: nn.Module) -> bool:
    """Whether a head predicts as mmpretrain's heads of one class an image do."""
    return isinstance(head, ClsHead) and all(
        getattr(type(head), name).__module__.startswith('mmpretrain.')
        for name in ('predict', '_get_predictions')
    )


def check_share(split: str, loader: DataLoader, num_batches: int, num_processes: int) -> None:
    """Check that each process has images of a split, and a batch; LaunchError if not."""
    num_images = len(loader.dataset)
    if num_images < num_processes:
        raise LaunchError(
            f'{split}_dataloader has {num_images} images for {num_processes} processes, '
            f'so that some would have none: start at most {num_images}, or check the list of '
            'images'
        )
    if num_batches == 0:
        raise LaunchError(
            f'{split}_dataloader yields 0 batches: {num_images} images on {num_processes} '
            f'processes are fewer than batch_size={loader.batch_size} each, and drop_last=True '
            'leaves out what does not fill a batch. Lower the batch size'
        )


def check_normalised_once(split: str, loader: DataLoader, model: nn.Module) -> None:
    """Check that not both pipeline and model normalise images; LaunchError if they do."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not isinstance(preprocessor, ClsDataPreprocessor) or not normalises(preprocessor):
        return
    steps = [part for step in transforms_of(loader.dataset) for part in _parts(step)]
    normalising = [step for step in steps if type(step).__name__ == 'Normalize']
    # a mean of 0 only scales
    if preprocessor.mean.any() and any(np.any(getattr(step, 'mean', 0)) for step in normalising):
        raise LaunchError(
            f'{split}_dataloader has Normalize in its pipeline, and data_preprocessor has mean '
            'and std: images would be normalised twice. Leave Normalize out'
        )
    names = (type(step).__name__ for step in steps)
    ends = [name for name in names if name not in ('RandomErasing', 'PackInputs', WRAPPER)][-1:]
    if ends == ['ToTensor'] and preprocessor.std.max() > 1:
        raise LaunchError(
            f'{split}_dataloader has ToTensor in its pipeline, which makes images of 0 to 1 (RGB), '
            'and the mean and std of data_preprocessor are for images of 0 to 255 (BGR): end with '
            "dict(type='PILToNumpy', to_bgr=True) instead"
        )


def _parts(step: object) -> list:
    """A transform, and those inside it: torchvision's, Albumentations', of RandomApply."""
    inner = getattr(getattr(step, 'aug', step), 'transforms', ())
    parts = [step.t] if type(step).__name__ == WRAPPER else inner
    parts = parts if isinstance(parts, list | tuple) else [parts]
    return [step, *(inner for part in parts for inner in _parts(part))]


def check_end(loader: DataLoader) -> None:
    """Check that an epoch ends; LaunchError if not."""
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if isinstance(sampler, InfiniteSampler):
        raise LaunchError(
            'train_dataloader.sampler (InfiniteSampler) never ends, and so the first epoch would '
            "not either: use dict(type='DefaultSampler', shuffle=True)"
        )


def check_even_shares(loader: DataLoader, num_processes: int) -> None:
    """Check that all processes train on batches of the same sizes; LaunchError if not.

    A process with a batch less would let the others wait, and losses gather whole batches.
    """
    num_images = len(loader.dataset)
    if num_images % num_processes == 0 or getattr(loader.sampler, 'round_up', True):
        return
    smaller = num_images // num_processes
    if not loader.drop_last or (smaller + 1) % (loader.batch_size or 1) == 0:
        raise LaunchError(
            f'train_dataloader.sampler.round_up=False leaves {num_images} images on '
            f'{num_processes} processes uneven, {smaller} or {smaller + 1} each, and all must have '
            'the same batches: set round_up=True'
        )


def check_order(split: str, loader: DataLoader) -> None:
    """Check that several processes take the images in turn: metrics join their results so.

    Raises:
        LaunchError: On all ranks, if image r + k W is not the k-th of rank r of W on any.
    """
    rank, world_size = dist.get_dist_info()
    if world_size == 1:
        return
    drawn = itertools.chain.from_iterable(loader.batch_sampler or [loader.sampler])
    size = len(loader.dataset)  # what makes the shares even starts from image 0 again
    in_turn = all(image == (rank + k * world_size) % size for k, image in enumerate(drawn))
    if not all(dist.all_gather_object(in_turn)):
        raise LaunchError(
            f'{split}_dataloader.sampler ({type(loader.sampler).__name__}) does not give the '
            f'images to {world_size} processes in turn, so that results would be joined in wrong '
            "order: use dict(type='DefaultSampler', shuffle=False), or start one process"
        )


def check_smallest_batch(model: nn.Module, loader: DataLoader) -> None:
    """Check that no batch is too small for a module of the model; LaunchError if one is."""
    batch_size, rest = loader.batch_size, 0
    if batch_size is None:  # of a batch sampler, whose batches nobody knows
        return
    if not loader.drop_last:
        rest = len(loader.sampler) % batch_size
    smallest = rest or batch_size
    for name, module in parts_of(model):
        if smallest < module.least_images:
            raise LaunchError(
                f'{name} ({type(module).__name__}) needs {module.least_images} images in a batch, '
                f'and train_dataloader yields one of {smallest}: set its batch_size to at least '
                f'{module.least_images} and drop_last=True'
            )


def scale_for_accumulation(cfg: Config) -> None:
    """Let ``auto_scale_lr`` count accumulated batches, which mmengine's leaves out.

    The base batch size is divided by ``optim_wrapper.accumulative_counts``, so that the ratio
    is that of the images between two steps; changes ``cfg``.
    """
    cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)


def batch_warning(cfg: Mapping, batch_size: int | None, num_processes: int) -> str | None:
    """What to say of a batch, if its size is known, that the learning rate was not made for."""
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    accumulated = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    images = num_processes * (batch_size or 0) * accumulated
    if base is None or scaling.get('enable') or images in (0, base):
        return None
    return (
        f'{num_processes} process{"es" * (num_processes > 1)} x batch {batch_size} '
        f'x accumulation {accumulated} = '
        f'{images} images a step, and the learning rate was made for {base}: add '
        '--auto-scale-lr, or change one of them'
    )


def cut_schedules(cfg: Mapping) -> list[str]:
    """A line for each schedule in epochs that would go on when the run has ended."""
    epochs, lines = (cfg.get('train_cfg') or {}).get('max_epochs'), []
    for schedule in schedules_of(cfg):
        if not epochs or 'type' not in schedule or not schedule.get('by_epoch', True):
            continue
        length = schedule.get('T_max') or schedule.get('total_steps')
        begin = schedule.get('begin', 0)
        end = begin + length if length else schedule.get('end', epochs)
        if epochs + 0.01 < end < math.inf:  # --epochs may leave a rounding
            lines.append(
                f'{type_name(schedule)} of param_scheduler goes on to epoch {end:g}, and the run '
                f'ends after {epochs}: its learning rates are those of the beginning (--epochs '
                'changes both)'
            )
    return lines
