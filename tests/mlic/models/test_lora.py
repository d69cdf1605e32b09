"""LoRA around a backbone: what is trained, what is stored, and what is left after merging.

Shapes: R the rank of an update, I and O inputs and outputs of a layer.
"""

import math

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

from tests.tiny_backbones import SMALL

VIT = dict(type='VisionTransformer', out_type='featmap', **SMALL['VisionTransformer'])
TARGETS = ['qkv', 'attn.proj', 'ffn.layers.1']


def make_lora(module=VIT, targets=TARGETS, rank=2, alpha=5, **settings):
    torch.manual_seed(0)
    settings = dict(targets=targets, rank=rank, alpha=alpha, **settings)
    return MODELS.build(dict(type='LazyLoRAModel', module=module, **settings))


def draw_updates(lora):
    """As after a training: B, which begins with zeros, has values."""
    for adapter in lora.adapters().values():
        nn.init.normal_(adapter.lora_up.weight, std=0.1)
    return lora.eval()


def images(size=64):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_training_begins_with_the_features_of_the_backbone_and_trains_updates_only():
    lora = make_lora()
    plain = MODELS.build(VIT)
    names = {name.replace('.original_layer', '') for name, _ in lora.module.named_parameters()}
    assert {name for name in names if '.lora_' not in name} == set(plain.state_dict())
    weights = lora.module.state_dict()
    plain.load_state_dict(
        {k.replace('.original_layer', ''): v for k, v in weights.items() if '.lora_' not in k}
    )
    assert_close(lora(images()), plain(images()), rtol=0, atol=0)
    (feats,) = lora.train()(images())
    (feats * torch.randn_like(feats)).sum().backward()
    for name, parameter in lora.named_parameters():
        assert parameter.requires_grad == ('.lora_' in name), name
        assert (parameter.grad is not None) == ('.lora_' in name), name
        if '.lora_up' in name:
            assert parameter.grad.abs().max() > 0, name


def test_merged_weights_are_those_of_the_formula():
    lora = draw_updates(make_lora())
    expected, kept = {}, {}
    for name, adapter in lora.adapters().items():
        a, b = adapter.lora_down.weight.detach(), adapter.lora_up.weight.detach()
        assert a.shape[0] == b.shape[1] == 2
        weight = adapter.original_layer.weight.detach().clone()
        for o in range(b.shape[0]):
            for i in range(a.shape[1]):
                weight[o, i] += 5 / 2 * sum(b[o, r] * a[r, i] for r in range(2))
        expected[f'{name}.weight'] = weight
    kept = {k: v.clone() for k, v in lora.module.state_dict().items() if '.lora_' not in k}
    with torch.no_grad():
        (before,) = lora(images())
        merged = lora.merge()
        assert_close(merged(images())[0], before, rtol=1e-5, atol=1e-5)
    assert type(merged) is type(MODELS.build(VIT))
    found = merged.state_dict()
    assert found.keys() == MODELS.build(VIT).state_dict().keys()
    for name, value in kept.items():
        name = name.replace('.original_layer', '')
        assert_close(found[name], expected.get(name, value), rtol=1e-5, atol=1e-6)


def test_a_checkpoint_has_all_weights():
    """mmpretrain's holds the updates alone: useless without the other file."""
    lora, other = draw_updates(make_lora()), make_lora()
    for parameter in other.parameters():
        nn.init.constant_(parameter, 0.5)
    missing, unexpected = other.load_state_dict(lora.state_dict())
    assert not missing and not unexpected
    with torch.no_grad():
        assert_close(other.eval()(images()), lora(images()), rtol=0, atol=0)


def test_weights_are_loaded_as_training_starts_under_the_names_of_the_backbone(tmp_path):
    path = tmp_path / 'vit.pth'
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone')
    lora = make_lora(module=dict(VIT, init_cfg=init_cfg))  # there is no such file yet
    large = MODELS.build(dict(VIT, img_size=128))
    large.init_weights()
    state = large.state_dict()
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in state.items()}), path)
    downs = {name: x.lora_down.weight.clone() for name, x in lora.adapters().items()}
    lora.init_weights()
    for name, value in lora.module.state_dict().items():
        if '.lora_' not in name and name != 'pos_embed':  # whose 8 x 8 places become 4 x 4
            assert_close(value, state[name.replace('.original_layer', '')], rtol=0, atol=0)
    for name, adapter in lora.adapters().items():
        assert_close(adapter.lora_down.weight, downs[name], rtol=0, atol=0)
        assert not adapter.lora_up.weight.any()


def test_dropout_acts_in_training_only():
    lora = draw_updates(make_lora(drop_rate=0.5))
    evaluated = lora(images())
    assert_close(lora(images()), evaluated, rtol=0, atol=0)
    assert not torch.equal(lora.train()(images())[0], evaluated[0])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(targets=['qvk']), "VisionTransformer has no linear layer 'qvk'"),
        (dict(targets=[*TARGETS, 'projection']), "has no linear layer 'projection'"),
        (dict(targets=[]), "a target is the end of a name, as 'qkv', not ''"),
        (dict(targets=['(a+)+b']), r"end of a name, as 'qkv', not '\(a\+\)\+b'"),
        (dict(targets=[dict(type='qkv')]), r"end of a name, as 'qkv', not \{'type': 'qkv'\}"),
        (dict(rank=0), 'LoRA needs a rank of at least 1, got 0'),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_lora(**settings)


@pytest.mark.parametrize('name', ['vit_base_patch16_dinov3', 'vit_base_patch16_siglip_gap_512'])
def test_lora_in_a_vit_of_timm(name):
    pytest.importorskip('timm', reason="needs pip install -e '.[timm]'")
    module = dict(type='LazyTIMMBackbone', model_name=name, **SMALL['LazyTIMMBackbone'])
    module.update(dict(dynamic_img_size=True) if 'siglip' in name else {})
    # patch_embed.proj is a convolution, and stays
    lora = draw_updates(make_lora(module, ['qkv', 'proj']))
    trained = [name for name, p in lora.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 2  # two layers of two targets, each with A and B
    with torch.no_grad():
        (before,) = lora(images())
        (after,) = lora.merge()(images())
    assert before.shape == (2, 16, 4, 4)
    assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_updates_begin_as_in_the_paper():
    """A is drawn, B is zero: mmpretrain draws A as torch draws a linear layer."""
    for adapter in make_lora().adapters().values():
        bound = 1 / math.sqrt(adapter.lora_down.in_features)
        assert 0 < adapter.lora_down.weight.abs().max() <= bound
        assert not adapter.lora_up.weight.any()
