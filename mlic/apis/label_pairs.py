"""Pairs of a test image and one of its classes, and the model's vectors for them.

Shapes in this module: K pairs, D width of a vector, B images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch import Tensor, nn

from mlic.models.layers.feature_map import as_feature_map
from mlic.visualization.embedding import choose_points

NOT_ABSENT = ('gt_label', 'gt_label_difficult', 'gt_label_unknown')


class LabelPairs(NamedTuple):
    """K pairs: ``image``, indices of a data set, and ``label``, classes; (K,) each."""

    image: np.ndarray
    label: np.ndarray


def true_pairs(dataset: BaseDataset, indices: Sequence[int]) -> LabelPairs:
    """All pairs of some images with their true labels, in their order; ValueError if none has."""
    labels = [np.asarray(dataset.get_data_info(i)['gt_label'], dtype=np.int64) for i in indices]
    if not any(map(len, labels)):
        raise ValueError(f'none of the {len(labels)} images has a label')
    image = np.repeat(np.asarray(indices), [len(label) for label in labels])
    return LabelPairs(image, np.concatenate(labels))


def draw_pairs(
    dataset: BaseDataset, indices: Sequence[int], max_pairs: int, seed: int = 0
) -> tuple[LabelPairs, LabelPairs]:
    """Pairs of the true labels of some images, and as many of each class that are absent.

    Args:
        dataset (BaseDataset): With ``get_data_info``. Difficult and unknown labels are neither.
        indices (Sequence[int]): Of the images.
        max_pairs (int): At most this many true ones, drawn evenly over the classes
            (:func:`choose_points`).
        seed (int): Defaults to 0.

    Returns:
        tuple[LabelPairs, LabelPairs]: True and absent ones. A class that is absent from too few
        images has fewer of the latter.
    """
    image, label = true_pairs(dataset, indices)
    kept = choose_points(label, max_pairs, seed)
    present = LabelPairs(image[kept], label[kept])
    infos = [dataset.get_data_info(index) for index in indices]
    indices = np.asarray(indices)
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for own, number in zip(*np.unique(present.label, return_counts=True)):
        free = [not any(own in info.get(key, ()) for key in NOT_ABSENT) for info in infos]
        drawn = rng.permutation(indices[free])[:number]
        images.append(np.sort(drawn))
        labels.append(np.full_like(drawn, own))
    return present, LabelPairs(np.concatenate(images), np.concatenate(labels))


@torch.no_grad()
def pair_vectors(
    model: nn.Module, dataset: BaseDataset, pairs: LabelPairs, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """What the model makes of each pair, (K, D) float32.

    Args:
        model (nn.Module): With label embeddings (:func:`check_label_embeddings`).
        dataset (BaseDataset): Under its test pipeline.
        pairs (LabelPairs): In any order.
        batch_size (int): Of images. Defaults to 32.

    Returns:
        dict[str, np.ndarray]: ``pooled``, the mean of the backbone's last features, which all
        labels of an image share; ``embedding``, the neck's; ``projected``, what the head's
        projector makes of it, if there is one.
    """
    projector = getattr(model.head, 'projector', None)
    found = {name: [] for name in ('pooled', 'embedding', *['projected'] * (projector is not None))}
    rows = np.argsort(pairs.image, kind='stable')
    indices = np.unique(pairs.image)
    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        inputs = [dataset[int(index)]['inputs'] for index in part]
        batch = model.data_preprocessor(dict(inputs=inputs), False)
        feats = model.extract_feat(batch['inputs'], stage='backbone')
        own = rows[np.isin(pairs.image[rows], part)]
        row = torch.from_numpy(np.searchsorted(part, pairs.image[own]))
        label = torch.from_numpy(pairs.label[own])
        embeds = model.neck(feats)[-1].float()  # (B, C, D)
        embeds = embeds[row.to(embeds.device), label.to(embeds.device)]
        found['pooled'].append(_pooled(feats[-1], model.neck).cpu()[row])
        found['embedding'].append(embeds.cpu())
        if projector is not None:
            found['projected'].append(projector(embeds).float().cpu())
    back = np.argsort(rows)
    return {name: torch.cat(parts).numpy()[back] for name, parts in found.items()}


def _pooled(feat: Tensor, neck: nn.Module) -> Tensor:
    """The mean (B, D) over the cells of what a neck takes: a map (B, D, h, w), or tokens."""
    channels = getattr(neck, 'in_channels', None)  # which not every neck keeps
    if feat.dim() == 3 and channels is None:
        return feat.float().mean(1)
    if feat.dim() == 3:  # tokens may have one for the whole image in front
        feat = as_feature_map(feat, neck, channels if isinstance(channels, int) else channels[-1])
    return feat.float().mean((2, 3))
