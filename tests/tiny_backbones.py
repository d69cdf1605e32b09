"""The kinds of backbone in configs/foundation, in a width and depth of milliseconds."""

import re
from importlib.util import find_spec
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

MMPRETRAIN = Path(mmpretrain.__file__).parent / '.mim'
WIDTH, DEPTH, SIZE = 16, 2, 64
VIT = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=2, feedforward_channels=2 * WIDTH)
SMALL = {
    'VisionTransformer': dict(arch=VIT, img_size=SIZE),
    'ConvNeXt': dict(arch=dict(depths=[1, 1, 1, 2], channels=[8, 8, 8, WIDTH])),
    'SwinTransformerV2': dict(
        arch=dict(
            embed_dims=8,
            depths=[1, 1, 1, DEPTH],
            num_heads=[1, 1, 2, 2],
            extra_norm_every_n_blocks=0,
        ),
        img_size=SIZE,
        window_size=[4, 4, 4, 2],
    ),
    # a timm model's name keeps its kind
    'LazyTIMMBackbone': dict(embed_dim=WIDTH, depth=DEPTH, num_heads=2, pretrained=False),
}


def entries(module):
    """The shapes of a state dict."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def address_in_index(address):
    """A published file's address in mmpretrain's model index, which is of one of two editions.

    The configs have that of the onedl-* edition; the stock one's has another host.
    """
    hosts = 'https://mmassets.onedl.ai/', 'https://download.openmmlab.com/'
    index = (MMPRETRAIN / 'configs/resnet/metafile.yml').read_text()
    (host,) = [host for host in hosts if host in index]
    return address.replace(hosts[0], host)


def config_of_weights(backbone):
    """The config that mmpretrain's model index has for the weights a backbone starts from."""
    start = backbone.init_cfg
    assert start.prefix == 'backbone'
    address = re.escape(address_in_index(start.checkpoint))
    pattern = rf': {address}\s+(?:Weights: \S+\s+)?Config: (\S+)'
    texts = [path.read_text() for path in MMPRETRAIN.glob('configs/*/metafile.yml')]
    (config,) = [found for text in texts for found in re.findall(pattern, text)]
    return Config.fromfile(MMPRETRAIN / config)


def shrink(model):
    """Make the backbone of a model's config tiny, without weights to fetch; changes ``model``.

    Other kinds stay as they are. What takes the backbone's channels is told of them.
    """
    backbone = model.backbone.get('module', model.backbone)  # within LoRA
    if backbone.type not in SMALL:
        return
    if backbone.type == 'LazyTIMMBackbone' and not find_spec('timm'):
        pytest.skip("needs pip install -e '.[timm]'")
    backbone.pop('init_cfg', None)
    for key, value in SMALL[backbone.type].items():
        backbone[key] = value
    if backbone.get('frozen_stages', 0) > DEPTH:
        backbone.frozen_stages = DEPTH
    with torch.no_grad():
        feats = MODELS.build(model.backbone)(torch.zeros(1, 3, SIZE, SIZE))
    taker = model.neck if 'in_channels' in model.neck else model.head
    taker.in_channels = feats[-1].shape[1]
