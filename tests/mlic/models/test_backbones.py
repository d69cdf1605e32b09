"""The backbones of the configs: each takes a step, and its checkpoint is one that exists for it.

Shapes: B images, C classes, K channels, T tokens.
"""

import re
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.models.backbones.timm_backbone import grid_of
from projects.sadcl.models.sarl_neck import SARLNeck
from tests.helpers import ROOT
from tests.tiny_backbones import SIZE, SMALL, WIDTH, config_of_weights, entries

LEAVES = [
    'sadcl_r50_coco448',
    'sadcl_r101_coco448',
    'sadcl_r101_coco448_multi-scale',
    'sadcl_resnext101_coco448',
    'sadcl_swin-l_coco384',
    'sadcl_vit-b_coco448',
    'sadcl_convnext-b_coco448',
    'sadcl_efficientnet-v2-s_coco448',
    'sadcl_tresnet-l_coco448',
]


def needs_timm():
    return pytest.importorskip('timm', reason="needs pip install -e '.[timm]'")


def leaf(name):
    return Config.fromfile(ROOT / 'configs' / 'sadcl' / f'{name}.py')


def without_weights(backbone):
    """A backbone's config that downloads nothing."""
    if backbone.type == 'LazyTIMMBackbone':
        needs_timm()
        return {**backbone, 'pretrained': False}
    return {key: value for key, value in backbone.items() if key != 'init_cfg'}


# --- a step of each --------------------------------------------------------------------------


def take_a_step(cfg, size):
    """Forward, loss and backward of two images of C = 80 classes; returns the model."""
    torch.manual_seed(0)
    cfg.model.backbone = without_weights(cfg.model.backbone)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor}).train()
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(2)]
    samples = [DataSample().set_gt_label([0, 3]), DataSample().set_gt_label([3, 79])]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    losses = model(**data, mode='loss')
    assert set(losses) == {'loss_cls', 'loss_sscl', 'loss_pscl'}
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    return model


def check_gradients(model):
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    for part in (model.backbone, model.neck, model.head):
        grads = [p.grad for p in part.parameters() if p.requires_grad]
        assert grads
        assert any(grad.abs().max() > 0 for grad in grads)


@pytest.mark.parametrize('name', LEAVES)
def test_backbone_takes_a_step(name):
    """The whole backbone with a narrow neck, on images of 64 px."""
    cfg = leaf(name)
    if cfg.model.backbone.type == 'SwinTransformer':
        cfg.model.backbone.stage_cfgs.block_cfgs.window_size = 2  # the last map has 2 x 2 cells
    cfg.model.neck.update(embed_dims=16, feedforward_channels=16, num_heads=2)
    cfg.model.head.update(in_channels=16, proj_channels=8, bank_slots=2)
    check_gradients(take_a_step(cfg, size=64))


@pytest.mark.slow
@pytest.mark.parametrize('name', LEAVES)
def test_backbone_takes_a_step_in_full(name):
    """The config as it is, on images of its own size."""
    cfg = leaf(name)
    check_gradients(take_a_step(cfg, size=cfg.test_pipeline[1].scale[0]))


# --- checkpoints, without a download ---------------------------------------------------------


def checkpoint_of(name):
    return leaf(name).model.backbone.init_cfg.checkpoint


@pytest.mark.parametrize(
    'name', ['sadcl_r50_coco448', 'sadcl_r101_coco448', 'sadcl_resnext101_coco448']
)
def test_torchvision_has_the_checkpoint_and_its_names(name):
    model = checkpoint_of(name).removeprefix('torchvision://')
    assert list(torchvision.models.get_model_weights(model))
    with torch.device('meta'):
        given = entries(torchvision.models.get_model(model))
    built = entries(MODELS.build(leaf(name).model.backbone))
    assert {k: v for k, v in given.items() if not k.startswith('fc.')} == built


@pytest.mark.parametrize(
    ('name', 'resized'),
    [
        ('sadcl_swin-l_coco384', set()),
        ('sadcl_vit-b_coco448', {'pos_embed'}),  # 24 x 24 places become 28 x 28
        ('sadcl_convnext-b_coco448', set()),
        ('sadcl_efficientnet-v2-s_coco448', set()),
    ],
)
def test_mmpretrain_publishes_the_checkpoint_of_this_backbone(name, resized):
    """Address, architecture and normalisation are those of mmpretrain's model index."""
    cfg = leaf(name)
    theirs = config_of_weights(cfg.model.backbone)
    given, built = (
        entries(MODELS.build(without_weights(backbone)))
        for backbone in (theirs.model.backbone, cfg.model.backbone)
    )
    assert given.keys() == built.keys()
    assert {key for key in given if given[key] != built[key]} == resized
    for key in ('mean', 'std', 'to_rgb'):
        assert cfg.data_preprocessor[key] == theirs.data_preprocessor[key]


def test_timm_publishes_the_weights_of_this_backbone():
    timm, cfg = needs_timm(), leaf('sadcl_tresnet-l_coco448')
    published = timm.get_pretrained_cfg(cfg.model.backbone.model_name)
    assert published.has_weights
    assert published.input_size == (3, 448, 448)
    for key in ('mean', 'std'):
        assert cfg.data_preprocessor[key] == [255 * value for value in getattr(published, key)]


def test_positions_of_a_smaller_vit_are_resized_as_they_are_loaded(tmp_path):
    backbone = leaf('sadcl_vit-b_coco448').model.backbone
    settings = {**backbone, 'arch': 'deit-t'}
    small = MODELS.build({**settings, 'img_size': 384, 'init_cfg': None})
    small.init_weights()
    weights = {f'backbone.{name}': value for name, value in small.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'vit.pth')
    settings['init_cfg'] = {**backbone.init_cfg, 'checkpoint': str(tmp_path / 'vit.pth')}
    vit = MODELS.build(settings)
    vit.init_weights()
    grid = small.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (24, 24))
    grid = nn.functional.interpolate(grid, size=(28, 28), mode='bicubic')
    assert_close(vit.pos_embed[:, 1:], grid.flatten(2).transpose(1, 2), rtol=0, atol=0)
    for name, value in small.state_dict().items():
        if name != 'pos_embed':
            assert_close(vit.state_dict()[name], value, rtol=0, atol=0)


def test_the_vit_can_be_exported():
    """mmpretrain's own rates of stochastic depth are numpy's, at which torch.export stops."""
    arch = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)
    backbone = without_weights(leaf('sadcl_vit-b_coco448').model.backbone)
    vit = MODELS.build({**backbone, 'arch': arch, 'img_size': 32})
    vit.eval()
    images = torch.randn(2, 3, 32, 32)
    program = torch.export.export(vit, (images,), strict=True)
    assert_close(program.module()(images), vit(images))


# --- tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_raw_tokens_of_a_vit_equal_its_feature_map(with_cls_token):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    neck = SARLNeck(192, 5, embed_dims=16, num_heads=2, feedforward_channels=16).eval()
    vit = dict(type='VisionTransformer', arch='deit-t', img_size=64, with_cls_token=with_cls_token)
    mapped, raw = (MODELS.build(dict(vit, out_type=kind)) for kind in ('featmap', 'raw'))
    raw.load_state_dict(mapped.state_dict())
    with torch.no_grad():
        assert raw(images)[0].shape == (2, 16 + with_cls_token, 192)
        assert_close(neck(raw(images)), neck(mapped(images)))
        maps = [neck.attention_maps(vit(images)) for vit in (raw, mapped)]
    assert_close(*maps)
    assert maps[0].shape == (2, 5, 4, 4)


# --- timm ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'extra'),
    [
        ('vit_tiny_patch16_224', 1),  # a class token
        ('vit_small_patch16_dinov3', 5),  # and four registers
        ('vit_base_patch16_siglip_gap_512', 0),
    ],
)
def test_tokens_of_a_timm_vit_become_a_map(name, extra):
    needs_timm()
    settings = dict(model_name=name, pretrained=False, embed_dim=16, depth=1, num_heads=2)
    if extra != 5:  # DINOv3's rotary positions fit any size
        settings['img_size'] = (64, 96)
    vit = MODELS.build(dict(type='LazyTIMMBackbone', **settings)).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        tokens = vit.timm_model(images)
        (feats,) = vit(images)
    assert tokens.shape == (2, extra + 4 * 6, 16)
    for row in range(4):
        for column in range(6):
            token = tokens[:, extra + 6 * row + column]
            assert_close(feats[:, :, row, column], token, rtol=0, atol=0)


def test_tokens_whose_grid_timm_does_not_say_lie_as_the_images_do():
    assert grid_of(nn.Identity(), 24, (64, 96)) == (4, 6)
    known = nn.Identity()
    known.patch_embed = SimpleNamespace(dynamic_feat_size=lambda size: (3, 8))
    assert grid_of(known, 24, (64, 96)) == (3, 8)
    assert grid_of(known, 6, (64, 96)) == (2, 3)  # of a later stage


@pytest.mark.parametrize('features_only', [False, True])
def test_channels_of_a_timm_swin_become_the_second_dimension(features_only):
    needs_timm()
    name = 'swin_tiny_patch4_window7_224'
    settings = dict(model_name=name, img_size=64, embed_dim=8, depths=(1, 1), num_heads=(1, 2))
    settings.update(pretrained=False, features_only=features_only, window_size=4)
    swin = MODELS.build(dict(type='LazyTIMMBackbone', **settings)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        given, feats = swin.timm_model(images), swin(images)[-1]
    assert_close(feats, (given[-1] if features_only else given).permute(0, 3, 1, 2))
    assert feats.shape == (2, 16, 8, 8)


def test_a_frozen_timm_backbone_is_not_trained():
    needs_timm()
    settings = dict(model_name='resnet10t', pretrained=False, norm_eval=False)
    backbone = MODELS.build(dict(type='LazyTIMMBackbone', frozen=True, **settings))
    assert backbone.train() is backbone
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone(torch.randn(2, 3, 64, 64))[-1].requires_grad


@pytest.mark.parametrize('features_only', [False, True])
def test_timm_weights_are_fetched_before_training_only(monkeypatch, features_only):
    timm, fetched = needs_timm(), []
    create = timm.create_model

    def published(model_name, pretrained, **settings):
        model = create(model_name, pretrained=False, **settings)
        if pretrained:
            fetched.append((model_name, settings['features_only']))
            for parameter in model.parameters():
                nn.init.constant_(parameter, 0.25)
        return model

    monkeypatch.setattr(timm, 'create_model', published)
    settings = dict(model_name='resnet10t', features_only=features_only)
    backbone = MODELS.build(dict(type='LazyTIMMBackbone', **settings))
    assert fetched == []
    for _ in range(2):
        backbone.init_weights()
    assert fetched == [('resnet10t', features_only)]
    assert all((parameter == 0.25).all() for parameter in backbone.parameters())
    without = MODELS.build(dict(type='LazyTIMMBackbone', pretrained=False, **settings))
    without.init_weights()
    assert len(fetched) == 1


@pytest.mark.parametrize('norm_eval', [True, False])
def test_running_statistics_of_a_timm_backbone_stay_if_asked(norm_eval):
    needs_timm()
    settings = dict(model_name='resnet10t', pretrained=False, norm_eval=norm_eval)
    backbone = MODELS.build(dict(type='LazyTIMMBackbone', **settings))
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    assert backbone.train() is backbone
    backbone(torch.randn(2, 3, 64, 64))
    kept = [torch.equal(before[name], value) for name, value in backbone.named_buffers()]
    assert all(kept) == norm_eval
    assert backbone.training


@pytest.mark.parametrize(
    ('backbone', 'package', 'extra'),
    [
        (dict(type='LazyTIMMBackbone', model_name='resnet10t'), 'timm', 'timm'),
        (dict(type='EfficientNetLite'), 'efficientnet_lite_pytorch', 'pretrained'),
    ],
    ids=str,
)
def test_a_missing_package_names_the_extra(monkeypatch, backbone, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    message = f"{backbone['type']} needs the extra '{extra}': pip install -e '.[{extra}]'"
    with pytest.raises(ImportError, match=re.escape(message)):
        MODELS.build(backbone)


# --- docs/backbones.md -----------------------------------------------------------------------

DOCUMENT = (ROOT / 'docs' / 'backbones.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('index', range(3))
def test_documented_backbones_fit_their_necks(index, tmp_path):
    example = re.findall(r'```python\n(.*?)```', DOCUMENT, re.DOTALL)[index]
    assert len(example.strip().splitlines()) <= 7  # a blank one among them
    path = tmp_path / 'leaf.py'
    path.write_text(example.replace("'configs/", f"'{ROOT}/configs/"))
    cfg = Config.fromfile(path)
    assert cfg.model.backbone != leaf('sadcl_r101_coco448').model.backbone
    backbone = MODELS.build(without_weights(cfg.model.backbone)).to('meta')
    with torch.device('meta'):
        (embeds,) = MODELS.build(cfg.model.neck)(backbone(torch.zeros(2, 3, 64, 64)))
    assert embeds.shape == (2, 80, 2048)


@pytest.mark.parametrize(
    ('in_channels', 'shape', 'message'),
    [
        (
            2048,
            (8, 1024, 14, 14),
            "got (8, 1024, 14, 14); set the config's neck.in_channels to the backbone's channels",
        ),
        (
            192,
            (8, 18, 192),
            'neither 18 nor 17 (without a class token) is a square; let the backbone',
        ),
        (192, (192, 2, 2), 'give it a tuple of feature maps'),  # which has taken the last image
        # of PiT: a class token, or with one of distillation
        *((192, (8, n, 192), f'the backbone pools: it gives (8, {n}, 192); set') for n in (1, 2)),
    ],
)
def test_a_map_that_does_not_fit_the_neck_is_named(in_channels, shape, message):
    with torch.device('meta'), pytest.raises(ValueError, match=re.escape(message)):
        SARLNeck(in_channels, num_classes=5)((torch.zeros(shape),))


def test_tokens_may_have_their_channels_first():
    neck = SARLNeck(WIDTH, num_classes=5, embed_dims=16).eval()
    tokens = torch.randn(2, 9, WIDTH)
    assert_close(neck((tokens.mT,)), neck((tokens,)), rtol=0, atol=0)


@pytest.mark.parametrize(
    'backbone',
    [
        dict(SMALL['VisionTransformer'], type='VisionTransformer', out_type='cls_token'),
        dict(SMALL['ConvNeXt'], type='ConvNeXt'),
        dict(SMALL['VisionTransformer'], type='DistilledVisionTransformer'),  # of two tokens
    ],
    ids=lambda backbone: backbone['type'],
)
def test_a_backbone_that_pools_is_told_apart_from_wrong_channels(backbone):
    feats = MODELS.build(backbone)(torch.zeros(2, 3, SIZE, SIZE))
    with pytest.raises(ValueError, match=r'the backbone pools: it gives .*\(2, 16\)') as error:
        SARLNeck(WIDTH, num_classes=5, embed_dims=16)(feats)
    for remedy in ("out_type='featmap'", 'gap_before_final_norm=False', 'docs/backbones.md'):
        assert remedy in str(error.value)
    assert 'in_channels to' not in str(error.value)


def test_every_swapped_backbone_is_in_the_document():
    for name in LEAVES:
        assert f'../configs/sadcl/{name}.py' in DOCUMENT
