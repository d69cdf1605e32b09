"""The mean label embedding of each class over the training set.

Shapes in this module: B images, C classes, D embed dims.
"""

import copy
import time
from collections.abc import Callable, Iterable

import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .precision import autocast_to, usable_precision


def build_prototype_loader(cfg: Config, seed: int | None = None) -> DataLoader:
    """The training set in order, without augmentation, each image on one rank.

    Args:
        cfg (Config): With ``train_dataloader`` and ``val_dataloader`` (or ``test_dataloader``),
            whose pipeline is used.
        seed (int, optional): Of the loader's workers. Defaults to None.

    Raises:
        ValueError: If the training set is a wrapper, which has no pipeline of its own.
    """
    return Runner.build_dataloader(prototype_loader_config(cfg), seed=seed)


def prototype_loader_config(cfg: Config) -> Config:
    """The config of :func:`build_prototype_loader`."""
    loader_cfg = copy.deepcopy(cfg.train_dataloader)
    # not the test set's: a model may be tested at another image size than it is trained at
    test_cfg = cfg.get('val_dataloader') or cfg.test_dataloader
    if 'pipeline' not in loader_cfg.dataset:
        raise ValueError(
            'prototypes are computed with train_dataloader.dataset.pipeline replaced by the test '
            f'pipeline, and {loader_cfg.dataset.type} has none: use a dataset without a wrapper'
        )
    loader_cfg.dataset.pipeline = test_cfg.dataset.pipeline
    loader_cfg.sampler = dict(type='DefaultSampler', shuffle=False, round_up=False)
    loader_cfg.drop_last = False
    loader_cfg.persistent_workers = False
    loader_cfg.pop('batch_sampler', None)
    return loader_cfg


@torch.no_grad()
def class_means(
    model: nn.Module,
    loader: Iterable,
    threshold: float,
    log: Callable = lambda line: None,
    precision: str = 'float32',
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the embeddings of confident positives over a data loader, over all ranks.

    Args:
        model (nn.Module): An ImageClassifier with a ``LabelEmbedHead``; it is left in the mode it
            was in.
        loader (DataLoader): Images with labels.
        threshold (float): The score that a positive must exceed.
        log (callable): Takes a line of progress, about ten times. Defaults to none.
        precision (str): Of the model; 'bfloat16' and 'float16' lower it. Scores and sums do not
            follow. Defaults to 'float32'.

    Returns:
        tuple[Tensor]: Sums (C, D) and, per class, the number of positives (C,) and of
        confident ones (C,); float32.
    """
    precision = usable_precision(precision, model)
    was_training = model.training
    model.eval()
    weight = model.head.fc.weight  # (C, D)
    exact = torch.float32 if weight.device.type == 'mps' else torch.float64  # MPS has no float64
    total = weight.new_zeros(len(weight), weight.shape[1] + 2, dtype=exact)
    started = time.time()
    every = max(1, len(loader) // 10)
    for index, batch in enumerate(loader, start=1):
        batch = model.data_preprocessor(batch, False)
        with autocast_to(precision, model):
            feats = model.extract_feat(batch['inputs'])
            score = model.head(feats).sigmoid()  # (B, C), float32
        target = torch.stack([sample.gt_score for sample in batch['data_samples']]) > 0
        chosen = target & (score > threshold)
        sums = torch.einsum('bc,bcd->cd', chosen.to(exact), feats[-1].to(exact))
        total += torch.cat([sums, target.sum(0)[:, None], chosen.sum(0)[:, None]], dim=1)
        if index % every == 0 or index == len(loader):
            left = (time.time() - started) / index * (len(loader) - index)
            log(f'Prototypes: batch {index} / {len(loader)}, {left:.0f} s left')
    model.train(was_training)
    dist.all_reduce(total)
    sums, counts, confident = total[:, :-2], total[:, -2], total[:, -1]
    return sums.float(), counts.float(), confident.float()
