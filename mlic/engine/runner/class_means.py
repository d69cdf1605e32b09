"""The mean label embedding, or feature, of each class over the training set.

Shapes in this module: B images, C classes, D embed dims.
"""

import copy
import time
from collections.abc import Callable, Iterable
from operator import itemgetter

import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mlic.datasets.wrappers import pipeline_of
from mlic.models.targets import is_present
from mlic.names import first_names

from .buffers import buffers_of_rank_0
from .precision import autocast_to, device_of, eval_precision, usable_precision

PROGRESS = 30  # seconds between two lines


def build_prototype_loader(cfg: Config, seed: int | None = None) -> DataLoader:
    """The training set in order, without augmentation, each image on one rank.

    Args:
        cfg (Config): With ``train_dataloader`` and ``val_dataloader`` (or ``test_dataloader``),
            whose pipeline is used.
        seed (int, optional): Of the loader's workers. Defaults to None.

    Raises:
        ValueError: If the training set is a wrapper, which has no pipeline of its own, or the other
            one has several.
    """
    return Runner.build_dataloader(prototype_loader_config(cfg), seed=seed)


def prototype_loader_config(cfg: Config) -> Config:
    """The config of :func:`build_prototype_loader`."""
    loader_cfg = copy.deepcopy(cfg.train_dataloader)
    # not the test set's: a model may be tested at another image size than it is trained at
    split = 'val' if cfg.get('val_dataloader') else 'test'
    if 'pipeline' not in loader_cfg.dataset:
        raise ValueError(
            'class means are computed with train_dataloader.dataset.pipeline replaced by the test '
            f'pipeline, and {loader_cfg.dataset.type} has none: use a dataset without a wrapper'
        )
    loader_cfg.dataset.pipeline = pipeline_of(cfg, split)
    loader_cfg.sampler = dict(type='DefaultSampler', shuffle=False, round_up=False)
    loader_cfg.drop_last = False
    loader_cfg.persistent_workers = False
    loader_cfg.pop('batch_sampler', None)
    return loader_cfg


@torch.no_grad()
def class_means(
    model: nn.Module,
    loader: Iterable,
    threshold: float | None,
    log: Callable = lambda line: None,
    precision: str = 'float32',
    of: Callable[[tuple[Tensor, ...]], Tensor] = itemgetter(-1),
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the embeddings of confident positives over a data loader, over all ranks.

    Args:
        model (nn.Module): An ImageClassifier whose head has ``num_classes`` (C) and ``in_channels``
            (D), as a ``LabelEmbedHead``; it is left in the mode it was in.
        loader (DataLoader): Images with labels.
        threshold (float, optional): The score that a positive must exceed. None: all count.
        log (callable): Takes a line of progress, every 30 seconds. Defaults to none.
        precision (str): Of the model; 'bfloat16' and 'float16' lower it. Scores and sums do not
            follow. Defaults to 'float32'.
        of (callable): What is summed of the features that the head takes: embeddings (B, C, D), or
            features (B, D) for whatever class. Defaults to the last item.

    Returns:
        tuple[Tensor]: Sums (C, D) and, per class, the number of positives (C,) and of
        confident ones (C,); float32.
    """
    precision = usable_precision(precision, model)
    was_training = model.training
    model.eval()
    device = device_of(model)
    exact = torch.float32 if device.type == 'mps' else torch.float64  # MPS has no float64
    num_classes, dims = model.head.num_classes, model.head.in_channels
    total = torch.zeros(num_classes, dims + 2, dtype=exact, device=device)
    started = told = time.time()
    for index, batch in enumerate(loader, start=1):
        batch = model.data_preprocessor(batch, False)
        with autocast_to(precision, model):
            feats = model.extract_feat(batch['inputs'])
            embeds = of(feats).to(exact)
            score = None if threshold is None else model.head(feats).sigmoid()  # (B, C), float32
        target = is_present(torch.stack([sample.gt_score for sample in batch['data_samples']]))
        chosen = target if threshold is None else target & (score > threshold)
        pattern = 'bc,bcd->cd' if embeds.dim() == 3 else 'bc,bd->cd'
        sums = torch.einsum(pattern, chosen.to(exact), embeds)
        total += torch.cat([sums, target.sum(0)[:, None], chosen.sum(0)[:, None]], dim=1)
        now = time.time()
        if now - told >= PROGRESS:
            told, left = now, (now - started) / index * (len(loader) - index)
            log(f'Class means: batch {index} / {len(loader)}, {left:.0f} s left')
    model.train(was_training)
    dist.all_reduce(total)
    sums, counts, confident = total[:, :-2], total[:, -2], total[:, -1]
    return sums.float(), counts.float(), confident.float()


def training_means(
    runner: Runner,
    model: nn.Module,
    name: str,
    threshold: float | None = None,
    of: Callable[[tuple[Tensor, ...]], Tensor] = itemgetter(-1),
) -> Tensor:
    """The sums of :func:`class_means` over a run's training set, divided by all positives.

    Args:
        runner (Runner): Whose log says what is done, and which classes have none.
        model (nn.Module): Its model, without a wrapper.
        name (str): Of the means, for the log.
        threshold, of: See :func:`class_means`.

    Returns:
        Tensor: (C, D), zeros for a class without any.
    """
    loader = build_prototype_loader(runner.cfg, runner.seed)
    runner.logger.info(f'{name}: one pass over {len(loader.dataset)} training images')
    with buffers_of_rank_0([model]):
        sums, counts, confident = class_means(
            model, loader, threshold, runner.logger.info, eval_precision(runner.cfg), of
        )
    classes = loader.dataset.metainfo.get('classes') or list(range(len(counts)))
    empty = [name for name, count in zip(classes, confident.tolist()) if count == 0]
    if empty:
        which = '' if threshold is None else f' with a score above {threshold}'
        runner.logger.warning(
            f'{name}: {len(empty)} of {len(classes)} classes have no training image{which} '
            f'and start at zero: {first_names(empty, 20)}'
        )
    return sums / counts.clamp(min=1)[:, None]
