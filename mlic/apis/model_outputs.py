"""What pictures take from a trained model besides its scores.

Shapes in this module: B images, C classes, D embed dims, h x w attention cells.
"""

import numpy as np
import torch
from mmengine.dataset import BaseDataset, default_collate
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.data import Dataset

from mlic.datasets.pictures import seen_image
from mlic.engine.runner.tta import TTA
from mlic.models.attention_maps import attention_maps, check_attentive, head_input

from .label_pairs import pair_vectors, true_pairs


@torch.no_grad()
def check_label_embeddings(model: nn.Module, dataset: Dataset) -> None:
    """Refuse a model whose neck gives no ``label_embeds`` (B, C, D), of a data set's first image.

    Args:
        model (nn.Module): In evaluation mode.
        dataset (Dataset): Under its test pipeline.

    Raises:
        ValueError: If the last that the neck gives is something else, or there is no neck.
    """
    neck, shape = getattr(model, 'neck', None), ()
    if neck is not None:
        inputs = model.data_preprocessor(default_collate([dataset[0]]), False)['inputs']
        feats = model.extract_feat(inputs)
        shape = tuple((feats[-1] if isinstance(feats, (tuple, list)) else feats).shape)
    if len(shape) != 3 or shape[1] != getattr(model.head, 'num_classes', shape[1]):
        gives = f'{type(neck).__name__} gives {shape}' if shape else 'it has no neck'
        raise ValueError(
            'the model has no label embeddings, (images, classes, width), as a neck such as '
            f"SADCL's or MulCon's gives them: {gives}"
        )


@torch.no_grad()
def predict_with_attention(model: nn.Module, data: dict) -> list[DataSample]:
    """Predict a batch, and where each class looks.

    Args:
        model (nn.Module): In evaluation mode.
        data (dict): ``inputs``, uint8, BGR, (B, 3, H, W) or B of (3, H, W), and ``data_samples``.

    Returns:
        list[DataSample]: B, on the CPU, with ``pred_score`` (C,), ``attention`` (C, h, w), not
        negative, and ``view`` (H', W', 3), uint8, RGB: the picture that it lies on, which is the
        image with the preprocessor's padding.

    Raises:
        ValueError: If the inputs are not uint8, or the model has no ``attention_maps``.
    """
    check_attentive(model)
    images = data['inputs']
    data = model.data_preprocessor(data, False)
    feats = model.extract_feat(data['inputs'], stage='backbone')
    found = head_input(model, feats, data['inputs'])
    samples = model.head.predict(found, data['data_samples'])
    maps = attention_maps(model, feats, data['data_samples'])
    for sample, image, own in zip(samples, images, maps):
        sample.set_field(own.float(), 'attention', dtype=Tensor)
        sample.set_field(seen_image(image, data['inputs'].shape[-2:]), 'view', dtype=np.ndarray)
    return [sample.cpu() for sample in samples]


def predict_batch(model: nn.Module, data: dict, tta: TTA, attention: bool) -> list[DataSample]:
    """Predict a batch, or the views of one; attention is that of the first view."""
    first, *others = tta.batches(data)
    if attention:
        samples = predict_with_attention(model, first)
        if not tta:
            return samples
        first = dict(first, data_samples=samples)
    return tta.predict(model, [first, *others]) if tta else model.test_step(first)


def predict_item(model: nn.Module | None, item: dict) -> DataSample:
    """What a data set yields for one image, predicted if there is a model; with its ``view``."""
    if model is not None:
        return predict_with_attention(model, default_collate([item]))[0]
    sample = item['data_samples']
    sample.set_field(seen_image(item['inputs']), 'view', dtype=np.ndarray)
    return sample


def label_embeddings(
    model: nn.Module, dataset: BaseDataset, indices: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of the true labels of some images.

    Args:
        model (nn.Module): With label embeddings (:func:`check_label_embeddings`).
        dataset (BaseDataset): Under its test pipeline.
        indices (list[int]): Of the images.

    Returns:
        tuple[Tensor, Tensor, Tensor]: (K, D) float32, and of each its image's index and its
        class, (K,); K true labels.
    """
    pairs = true_pairs(dataset, indices)
    embeds = pair_vectors(model, dataset, pairs)['embedding']
    return tuple(torch.from_numpy(part) for part in (embeds, *pairs))
