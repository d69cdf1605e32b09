"""A config whose frozen backbone is replaced by its stored features."""

import hashlib
import inspect
import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn

from mlic.datasets.feature_cache import FeatureCache
from mlic.datasets.wrappers import change_inner, inner_configs, pipeline_of
from mlic.engine.mmengine_internals import init_weights_quietly
from mlic.models.backbones.stored_features import PackedMaps

from .recipes import num_views, recipe_text, whole_data

LABEL_KEYS = ('type', 'num_classes', 'to_onehot', 'unknown')


class FrozenBackboneError(ValueError):
    """A backbone that would change in training; the message is one line."""


def store_features(cfg: Config, root: str | Path, log=print) -> None:
    """Compute the features that a config needs, and let it train on them; changes ``cfg``.

    Of a backbone that can start at a later stage (``first_stage``, as EfficientNetLite's), only the
    frozen stages are stored, and the others are trained on what these give.

    Each image is read once, under the test pipeline, and with it its mirror image; training draws
    one of the two (both, where the config has two views). Features are shared by all configs of
    the same backbone with the same weights, preprocessor and test pipeline under ``root``. Random
    weights are always the same. An image file that changes afterwards is not noticed.

    Args:
        cfg (Config): With a wholly frozen backbone, or one that can start at a later stage.
        root (str | Path): Folder of the caches.
        log (callable): Takes a line of progress. Defaults to print.

    Raises:
        FrozenBackboneError: If a part of the backbone would be trained.
        ValueError: If there are more than two views, the pipeline is switched in training, images
            are blended, or the weights are the whole model's.
    """
    views = num_views(cfg)
    if views > 2:
        raise ValueError(f'--cache-features stores two views of an image, the config has {views}')
    switches = [hook.type for hook in cfg.get('custom_hooks', ()) if hook.get('schedule')]
    if switches:
        raise ValueError(f'--cache-features: {switches[0]} would go back from features to images')
    if cfg.data_preprocessor.get('batch_augments'):
        raise ValueError('--cache-features: data_preprocessor.batch_augments blends images')
    for key in ('init_cfg', 'pretrained'):
        if cfg.model.get(key):
            raise ValueError(
                f'--cache-features takes the weights of model.backbone.init_cfg, not of model.{key}'
            )
    if cfg.get('load_from'):
        log("load_from gives neck and head; features are those of the config's own backbone")
    frozen, stored = _split(cfg.model.backbone)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)  # random weights, too, are found again
        backbone = MODELS.build(frozen)
        init_weights_quietly(backbone)
    preprocessor = {k: v for k, v in cfg.data_preprocessor.items() if k not in LABEL_KEYS}
    test_pipeline = pipeline_of(cfg)
    folder = Path(root) / _digest(frozen, _weights_of(backbone), preprocessor, test_pipeline)
    cache = FeatureCache(folder)
    preprocess = MODELS.build({'type': 'ClsDataPreprocessor', **preprocessor})
    if torch.cuda.is_available():
        backbone, preprocess = backbone.cuda(), preprocess.cuda()
    datasets = []
    for split in ('train', 'val', 'test'):
        if cfg.get(f'{split}_dataloader') is not None:
            # runs of other seeds draw other images
            source = change_inner(
                cfg[f'{split}_dataloader'].dataset,
                lambda one: dict(whole_data(one), pipeline=test_pipeline),
            )
            datasets.append(DATASETS.build(source))
    inputs = preprocess(default_collate([datasets[0][0], datasets[0][1]]))['inputs']
    backbone.eval()  # mmpretrain's returns nothing
    with torch.no_grad():
        maps = backbone(inputs)
    if len(maps) > 1 or maps[0].dim() != 4:
        stored['shapes'] = [tuple(feat.shape[1:]) for feat in maps]
        backbone = PackedMaps(backbone)
    check_frozen(backbone, inputs, cfg.model.backbone.type)
    for dataset in datasets:
        cache.add(dataset, preprocess, backbone, log)
    _read_features(cfg, stored, str(folder), views)


def check_frozen(backbone: nn.Module, inputs: Tensor, name: str) -> None:
    """Refuse a backbone that training changes, or whose features differ in training mode."""
    trained = [key for key, p in backbone.named_parameters() if p.requires_grad]
    features = []
    for training in (False, True):
        backbone.train(training)  # mmpretrain's returns nothing
        with torch.no_grad():
            features.append(backbone(inputs)[-1])
    if trained:
        what = f'{len(trained)} parameters are trained, the first is {trained[0]}'
    elif not torch.allclose(*features, rtol=1e-4, atol=1e-5):  # cuDNN may round anew each time
        what = 'BatchNorm, dropout or stochastic depth act in training'
    else:
        return
    raise FrozenBackboneError(
        f'--cache-features needs a frozen backbone, and in {name} {what}: add --set model.backbone.'
        'frozen_stages=N with its last stage, 4 for ResNet (8 for EfficientNetLite, or 1 to 7 to '
        'train the stages after it)'
    )


def _split(backbone: dict) -> tuple[dict, dict]:
    """The part of a backbone whose features are stored, and what stands in its place."""
    options = inspect.signature(MODELS.get(backbone['type'])).parameters
    if 'first_stage' not in options:
        return backbone, dict(type='StoredFeatures')
    last, maps = (backbone.get(k, options[k].default) for k in ('frozen_stages', 'out_stage'))
    if last < 1 or last >= (maps if isinstance(maps, int) else maps[0]):
        return backbone, dict(type='StoredFeatures')
    trained = {**backbone, 'first_stage': last + 1}
    return {**backbone, 'out_stage': last, 'drop_path_rate': 0.0}, trained


def _read_features(cfg: Config, stored: dict, folder: str, views: int) -> None:
    """Read features instead of images."""
    cfg.model.backbone = stored
    cfg.data_preprocessor = {k: v for k, v in cfg.data_preprocessor.items() if k in LABEL_KEYS}
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:  # not validated
            continue
        mirror = 'never'
        if split == 'train':
            mirror = 'both' if views == 2 else 'random'
        load = dict(type='LoadFeature', folder=folder, mirror=mirror)
        for one in inner_configs(loader.dataset):
            # PackInputs stays, with the meta keys that the metric needs
            one.pipeline = [load, one.pipeline[-1]]
        loader.update(num_workers=0, persistent_workers=False)


def _weights_of(backbone: nn.Module) -> str:
    """A hash of all weights and statistics, on the CPU."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode() + value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(*parts: object) -> str:
    """A short name for what features depend on."""
    plain = json.loads(json.dumps(parts))  # a tuple means the same as a list
    text = recipe_text(Config(dict(parts=plain)))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
