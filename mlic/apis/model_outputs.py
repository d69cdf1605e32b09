"""What pictures take from a trained model besides its scores.

Shapes in this module: B images, C classes, D embed dims, h x w attention cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mlic.datasets.transforms.multi_scale_crop import keeps_frame


def has_label_embeddings(model: nn.Module) -> bool:
    """Whether the model's neck is one like SARLNeck: an embedding and a map for each class."""
    return hasattr(getattr(model, 'neck', None), 'attention_maps')


def seen_image(inputs: Tensor) -> np.ndarray:
    """What the pipeline yields, (3, H, W), uint8, BGR, as a picture (H, W, 3), RGB.

    Raises:
        ValueError: If it is not uint8.
    """
    if inputs.dtype != torch.uint8:
        raise ValueError(f'the test pipeline must yield uint8 images, got {inputs.dtype}')
    return np.ascontiguousarray(inputs.flip(0).permute(1, 2, 0).expand(-1, -1, 3).numpy())


def image_name(dataset: BaseDataset, index: int) -> str:
    """The name of an image's file, or 'image 7' where the data set draws its images itself."""
    name = Path(dataset.get_data_info(index).get('img_path') or '').name
    return name if Path(name).suffix else f'image {index}'


def unsquash(picture: np.ndarray, dataset: BaseDataset, item: dict) -> np.ndarray:
    """A picture in the proportions of its file, where the pipeline changed them.

    Args:
        picture (np.ndarray): (H, W, 3), uint8: what a model sees of the item.
        dataset (BaseDataset): With its test pipeline.
        item (dict): What it yields, with ``inputs`` (3, h, w) and ``data_samples``.

    Returns:
        np.ndarray: (H', W', 3); the longer side is that of the picture. Left as it is where a
        border was cut off or added, or the sample does not tell its file's shape.
    """
    shape = item['data_samples'].get('ori_shape')
    is_padded = picture.shape[:2] != tuple(item['inputs'].shape[1:])
    if shape is None or is_padded or not keeps_frame(dataset.pipeline.transforms):
        return picture
    scale = max(picture.shape[:2]) / max(shape)
    height, width = (max(1, round(side * scale)) for side in shape)
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


@torch.no_grad()
def predict_with_attention(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, np.ndarray]:
    """Scores of one image, and where each class looks.

    Args:
        model (nn.Module): With :func:`has_label_embeddings`.
        inputs (Tensor): (3, H, W), uint8, BGR: what the pipeline yields.

    Returns:
        tuple[Tensor, Tensor, np.ndarray]: Scores (C,), attention (C, h, w), and the picture
        (H', W', 3) that it lies on: the image with the preprocessor's padding.

    Raises:
        ValueError: If the inputs are not uint8.
    """
    batch = model.data_preprocessor(dict(inputs=[inputs]), False)['inputs']  # (1, 3, H', W')
    feats = model.extract_feat(batch, stage='backbone')
    (sample,) = model.head.predict(model.neck(feats))
    attention = model.neck.attention_maps(feats)[0]
    height, width = batch.shape[-2:]
    padded = F.pad(inputs, (0, width - inputs.shape[-1], 0, height - inputs.shape[-2]))
    return sample.pred_score.cpu(), attention.cpu(), seen_image(padded)


@torch.no_grad()
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
    embeds, images, labels = [], [], []
    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        items = [dataset[index] for index in part]
        batch = model.data_preprocessor(dict(inputs=[item['inputs'] for item in items]), False)
        out = model.extract_feat(batch['inputs'])[-1].float().cpu()  # (B, C, D)
        for row, (index, item) in enumerate(zip(part, items)):
            true = item['data_samples'].gt_label.long()
            embeds.append(out[row, true])
            images.append(torch.full_like(true, index))
            labels.append(true)
    return torch.cat(embeds), torch.cat(images), torch.cat(labels)
