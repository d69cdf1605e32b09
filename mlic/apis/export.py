"""A model for other runtimes: B images (3, H, W) to scores of C classes, nothing else needed."""

import copy

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import BaseModel
from mmpretrain.registry import TRANSFORMS
from torch import Tensor, nn
from torch.nn import functional as F

from mlic.datasets.pictures import LOADERS
from mlic.datasets.wrappers import pipeline_of
from mlic.engine.mmengine_internals import normalises
from mlic.models.training_parts import parts_of
from mlic.registries import dotted_name

# arguments with which LoadImageFromFile gives the pixels of read_image
READS_ALIKE = dict(color_type='color', imdecode_backend='cv2', to_float32=False)


class ScoreModel(nn.Module):
    """Colour order, normalisation, padding, network and sigmoid in one graph.

    Args:
        model (BaseModel): An ImageClassifier of :func:`open_run`. It is copied: training it
            further changes no score here.

    Example:
        >>> import torch
        >>> from mmpretrain.models import ImageClassifier
        >>> from mlic.apis import ScoreModel
        >>> from projects.ml_gcn import MLGCNHead  # registers it
        >>> model = ImageClassifier(
        ...     backbone=dict(type='EfficientNetLite', pretrained=False),
        ...     head=dict(type='MLGCNHead', num_classes=3, in_channels=1280),
        ...     data_preprocessor=dict(num_classes=3, mean=[127] * 3, std=[128] * 3, to_rgb=True),
        ... )
        >>> ScoreModel(model.eval())(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape
        torch.Size([1, 3])
    """

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model = copy.deepcopy(model)
        for _, part in parts_of(model):
            part.before_export()
        for module in model.modules():  # torch.export stops where a number of numpy's is compared
            if isinstance(getattr(module, 'drop_prob', None), np.floating):
                module.drop_prob = float(module.drop_prob)
        preprocessor = model.data_preprocessor
        # to_rgb: the pipeline's BGR becomes RGB. Here RGB comes in, so the other case flips.
        self.flip = not preprocessor.to_rgb
        self.divisor = preprocessor.pad_size_divisor
        self.pad_value = preprocessor.pad_value
        normalised = normalises(preprocessor)
        mean = preprocessor.mean if normalised else torch.zeros(1, 1, 1)
        std = preprocessor.std if normalised else torch.ones(1, 1, 1)
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W), uint8, to scores (B, C), float32, from 0 to 1."""
        inputs = images.flip(1) if self.flip else images
        inputs = (inputs.float() - self.mean) / self.std
        height, width = inputs.shape[-2:]
        padding = (0, -width % self.divisor, 0, -height % self.divisor)
        if any(padding):
            inputs = F.pad(inputs, padding, value=self.pad_value)
        return self.model(inputs, mode='tensor').sigmoid()


def input_size(cfg: Config) -> tuple[int, int]:
    """Height and width of what the test pipeline makes of any image.

    Args:
        cfg (Config): With ``test_dataloader``.

    Raises:
        ValueError: If that depends on the image.
    """
    sizes = _sizes(cfg)
    if len(sizes) > 1:
        raise ValueError(
            "the test pipeline's size depends on the image (300 x 500 and 700 x 400 become "
            f'{" and ".join(f"{h} x {w}" for h, w in sorted(sizes))}): give --size HEIGHT WIDTH'
        )
    return sizes.pop()


def _sizes(cfg: Config) -> set[tuple[int, int]]:
    """Heights and widths of what the test pipeline makes of two images."""
    transforms = pipeline_of(cfg)
    pipeline = Compose([TRANSFORMS.build(t) for t in transforms if t['type'] not in LOADERS])
    sizes = set()
    for shape in ((300, 500), (700, 400)):
        image = np.zeros((*shape, 3), np.uint8)
        results = pipeline(dict(img=image, img_shape=shape, ori_shape=shape))
        sizes.add(tuple(results['inputs'].shape[-2:]))
    return sizes


def describe_input(cfg: Config, size: tuple[int, int]) -> dict:
    """What a program must do to an image before a :class:`ScoreModel`, as plain values.

    ``reduce_to`` is that of :func:`mlic.datasets.read_image` in the pipeline, or None; for a
    ``size`` that is larger than the pipeline's, as much larger.
    ``resize`` is 'bilinear' where the pipeline is one ``Resize`` to ``size`` with OpenCV's
    bilinear interpolation (which does not smooth when it shrinks) of the pixels that
    :func:`mlic.datasets.read_image` gives; else None, and ``transforms`` lists the pipeline, with
    its loader if that reads other pixels.

    Args:
        cfg (Config): With ``test_dataloader``.
        size (tuple[int, int]): Height and width of the images that the model takes.

    Returns:
        dict: Also ``size``, ``layout``, ``dtype``, ``channels``, and ``mean`` and ``std``, which
            are part of the model. All can be written as JSON.
    """
    pipeline = pipeline_of(cfg)
    transforms = [
        {**step, 'type': dotted_name(step['type'])}
        for step in pipeline
        if step['type'] not in (*LOADERS, 'PackInputs')
    ]
    reduce_to = next((step.get('reduce_to') for step in pipeline if step['type'] in LOADERS), None)
    if reduce_to:
        factors = [side / own for sides in _sizes(cfg) for side, own in zip(size, sides)]
        reduce_to = round(reduce_to * max(1, *factors))
    expected = dict(type='Resize', keep_ratio=False, interpolation='bilinear', backend='cv2')
    resize = transforms[0] if len(transforms) == 1 else {}
    plain = 'scale' in resize and all(resize.get(k, v) == v for k, v in expected.items())
    loader = next((step for step in pipeline if step['type'] in LOADERS), {})
    if any(loader.get(key, value) != value for key, value in READS_ALIKE.items()):
        said = {key: loader[key] for key in ('type', *READS_ALIKE) if key in loader}
        plain, transforms = False, [said, *transforms]
    preprocessor = cfg.get('data_preprocessor') or cfg.model.data_preprocessor
    return dict(
        layout='NCHW',
        dtype='uint8',
        channels='RGB',
        size=list(size),
        reduce_to=reduce_to,
        resize='bilinear' if plain else None,
        transforms=transforms,
        # done in the graph; for the record
        mean=list(preprocessor.get('mean') or []),
        std=list(preprocessor.get('std') or []),
    )
