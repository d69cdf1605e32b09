"""Layer-wise decay of learning rates, and settings of equal parameters in one group."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from torch import nn

import mlic  # noqa: F401
from tests.tiny_backbones import DEPTH, SMALL, WIDTH

RATE, DECAY = 1e-3, 0.5
VIT = dict(type='VisionTransformer', out_type='featmap', **SMALL['VisionTransformer'])
CONVNEXT = dict(type='ConvNeXt', gap_before_final_norm=False, **SMALL['ConvNeXt'])
NO_DECAY = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)


def make_model(backbone, channels=WIDTH):
    head = dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=channels)
    neck = dict(type='GlobalAveragePooling')
    return MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head))


def settings_of(model, constructor='SharedGroupsConstructor', **paramwise_cfg):
    """(lr, weight_decay) of each trained parameter, and the number of groups."""
    cfg = ConfigDict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=RATE, weight_decay=0.1),
        constructor=constructor,
        paramwise_cfg=dict(**NO_DECAY, **paramwise_cfg),
    )
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    settings = {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in groups
        for parameter in group['params']
    }
    return settings, len(groups)


def test_each_layer_of_a_vit_learns_slower_than_the_next_one():
    settings, groups = settings_of(make_model(VIT), layer_decay_rate=DECAY)
    rates = {name: lr for name, (lr, _) in settings.items()}
    last = DEPTH + 1  # depths: embeddings 0, layers 1 to DEPTH, norm and head
    assert rates['backbone.pos_embed'] == rates['backbone.cls_token'] == RATE * DECAY**last
    assert rates['backbone.patch_embed.projection.weight'] == RATE * DECAY**last
    for layer in range(DEPTH):
        name = f'backbone.layers.{layer}.attn.qkv.weight'
        assert rates[name] == RATE * DECAY ** (last - 1 - layer)
    for name in ('backbone.ln1.weight', 'head.fc.weight', 'head.fc.bias'):
        assert rates[name] == RATE
    assert groups == 2 * (DEPTH + 2)  # with weight decay and without


@pytest.mark.parametrize('backbone', [VIT, CONVNEXT], ids=lambda cfg: cfg['type'])
def test_settings_are_those_of_mmpretrain(backbone):
    model = make_model(backbone)
    ours, _ = settings_of(model, layer_decay_rate=DECAY)
    theirs, _ = settings_of(
        model, 'LearningRateDecayOptimWrapperConstructor', layer_decay_rate=DECAY
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ('name', 'small'),
    [
        ('vit_base_patch16_dinov3', SMALL['LazyTIMMBackbone']),
        ('convnext_base', dict(pretrained=False, depths=(1, 1, 1, 2), dims=(8,) * 4)),
    ],
)
def test_depths_of_a_timm_backbone_are_timms(name, small):
    timm = pytest.importorskip('timm', reason="needs pip install -e '.[timm]'")
    optim = pytest.importorskip('timm.optim')
    model = make_model(dict(type='LazyTIMMBackbone', model_name=name, **small))
    ours, _ = settings_of(model, layer_decay_rate=DECAY)
    whole = timm.create_model(name, num_classes=3, **small)
    groups = optim.param_groups_layer_decay(whole, layer_decay=DECAY)
    scales = {parameter: group['lr_scale'] for group in groups for parameter in group['params']}
    scales = {key: scales[parameter] for key, parameter in whole.named_parameters()}
    assert len(set(scales.values())) >= DEPTH + 2
    for key, _ in model.backbone.timm_model.named_parameters():
        assert ours[f'backbone.timm_model.{key}'][0] == RATE * scales[key], key
    for key in ('weight', 'bias'):
        assert ours[f'head.fc.{key}'][0] == RATE


def test_it_multiplies_other_factors():
    factors = dict(custom_keys=dict(head=dict(lr_mult=3.0), cls_token=dict(decay_mult=0.0)))
    settings, _ = settings_of(make_model(VIT), layer_decay_rate=DECAY, **factors)
    assert settings['head.fc.weight'] == (3 * RATE, 0.1)
    assert settings['backbone.cls_token'] == (RATE * DECAY ** (DEPTH + 1), 0.0)


def test_within_lora_depths_are_those_of_the_backbone():
    model = make_model(dict(type='LazyLoRAModel', module=VIT, targets=['qkv']))
    settings, _ = settings_of(model, layer_decay_rate=DECAY)
    for layer in range(DEPTH):
        name = f'backbone.module.layers.{layer}.attn.qkv.lora_up.weight'
        assert settings[name][0] == RATE * DECAY ** (DEPTH - layer)


def test_a_backbone_without_depths_is_named():
    lite = make_model(dict(type='StoredFeatures'))
    with pytest.raises(ValueError, match='needs get_layer_depth, which StoredFeatures does not'):
        settings_of(lite, layer_decay_rate=DECAY)
    with pytest.raises(ValueError, match='needs get_layer_depth, which Linear does not have'):
        settings_of(nn.Linear(2, 2), layer_decay_rate=DECAY)
    settings_of(nn.Linear(2, 2))


def test_a_step_moves_layers_by_their_rates():
    """AdamW's first step is the rate, in the direction of the gradient."""
    torch.manual_seed(0)
    model = make_model(VIT)
    cfg = dict(optimizer=dict(type='Adam', lr=RATE), constructor='SharedGroupsConstructor')
    cfg['paramwise_cfg'] = dict(layer_decay_rate=DECAY)
    wrapper = build_optim_wrapper(model, ConfigDict(cfg, type='OptimWrapper'))
    before = {name: value.clone() for name, value in model.named_parameters()}
    wrapper.update_params(model(torch.randn(2, 3, 64, 64)).square().sum())
    for layer in range(DEPTH):
        name = f'backbone.layers.{layer}.attn.proj.weight'
        moved = (model.get_parameter(name) - before[name]).abs().max().item()
        assert moved == pytest.approx(RATE * DECAY ** (DEPTH - layer), rel=1e-2)
