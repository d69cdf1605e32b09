"""What pictures take from a trained model besides its scores.

Shapes in this module: B images, C classes, D embed dims, h x w attention cells.
"""

import numpy as np
import torch
from mmengine.dataset import BaseDataset, default_collate
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mlic.datasets.pictures import seen_image
from mlic.engine.runner.tta import TTA
from mlic.models.attention_maps import attention_maps, check_attentive, head_input

from .label_pairs import pair_vectors, true_pairs


def has_label_embeddings(model: nn.Module) -> bool:
    """Whether the model's neck is one like SARLNeck: an embedding and a map for each class."""
    return hasattr(getattr(model, 'neck', None), 'attention_maps')


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
    """Predict a batch, or the views of one; attention is that of the first view.

    Args:
        model (nn.Module): In evaluation mode.
        data (dict): Of collated items of a test pipeline.
        tta (TTA): Whose pipeline it was.
        attention (bool): As :func:`predict_with_attention`.
    """
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
    model: nn.Module, dataset: BaseDataset, indices: list[int], batch_size: int = 32
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of the true labels of some images.

    Args:
        model (nn.Module): With :func:`has_label_embeddings`.
        dataset (BaseDataset): Under its test pipeline.
        indices (list[int]): Of the images.
        batch_size (int): Defaults to 32.

    Returns:
        tuple[Tensor, Tensor, Tensor]: (K, D) float32, and of each its image's index and its
        class, (K,); K true labels.
    """
    pairs = true_pairs(dataset, indices)
    embeds = pair_vectors(model, dataset, pairs, batch_size)['embedding']
    return tuple(torch.from_numpy(part) for part in (embeds, *pairs))
