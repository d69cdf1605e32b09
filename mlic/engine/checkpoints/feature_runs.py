"""Checkpoints of runs on stored features, which have no backbone."""

from collections.abc import Mapping

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmpretrain.registry import MODELS

from mlic.engine.mmengine_internals import init_weights_quietly
from mlic.literals import parse_literals


def add_own_backbone(content: Mapping, model: BaseModel, model_cfg: ConfigDict | None) -> Mapping:
    """A checkpoint of stored features with the config's pretrained backbone.

    As it is if it is another one, has a backbone, the model needs none, or the config's starts from
    random weights, which are not those that the features were made with.

    Args:
        content (Mapping): The checkpoint.
        model (BaseModel): That it is for.
        model_cfg (ConfigDict, optional): Of the model, in a file that the user has given: it may
            name weights. None if the model was built without one; then the checkpoint stays.
    """
    weights = dict(content.get('state_dict') or content)
    if (
        not model_cfg
        or not _is_of_features(content.get('meta') or {})
        or not any(model.backbone.state_dict())
        or any(name.startswith('backbone.') for name in weights)
    ):
        return content
    starts = []
    for _ in range(2):
        backbone = MODELS.build(model_cfg.backbone)
        init_weights_quietly(backbone)
        starts.append({f'backbone.{name}': value for name, value in backbone.state_dict().items()})
    first, second = starts
    if not all(torch.equal(value, second[name]) for name, value in first.items()):
        return content
    print_log("trained on stored features: the backbone is the config's pretrained one", 'current')
    return {**content, 'state_dict': {**weights, **first}}


def _is_of_features(meta: Mapping) -> bool:
    """Whether the config in a checkpoint has stored features for a backbone."""
    try:
        return parse_literals(meta['cfg'])['model']['backbone']['type'] == 'StoredFeatures'
    except (KeyError, TypeError, ValueError):
        return False
