"""The backbones of configs/foundation: weights that exist, any image size, bfloat16, recomputing.

Shapes: B images, K channels, h x w cells.
"""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

import projects.sadcl  # noqa: F401
from mlic.engine.runner.recomputed_parts import recompute_parts
from tests.helpers import ROOT
from tests.tiny_backbones import MMPRETRAIN, SIZE, config_of_weights, entries, shrink

FOLDER = ROOT / 'configs' / 'foundation'
LEAVES = sorted(FOLDER.glob('*.py'))
# one leaf for each backbone
BACKBONES = [path.stem for path in LEAVES if re.fullmatch(r'linear_[\w-]+_coco\d+', path.stem)]


def leaf(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def tiny(name, training=False):
    """The backbone of a leaf, made tiny."""
    torch.manual_seed(0)
    cfg = leaf(name)
    shrink(cfg.model)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.train(training)  # mmpretrain's returns nothing
    return backbone


@pytest.fixture
def shapes_only(monkeypatch):
    """Modules in full size without memory; the rates of stochastic depth are read as numbers."""
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    with torch.device('meta'):
        yield


def needs_timm_for(backbone):
    if backbone.type == 'LazyTIMMBackbone':
        return pytest.importorskip('timm', reason="needs pip install -e '.[timm]'")
    return None


# --- weights, without a download -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize('name', BACKBONES)
def test_the_full_backbone_gives_the_maps_that_the_head_takes(name, shapes_only):
    cfg = leaf(name)
    needs_timm_for(cfg.model.backbone)
    backbone = MODELS.build(cfg.model.backbone)
    (*_, feats) = backbone(torch.zeros(1, 3, cfg.size, cfg.size))
    assert feats.shape[1] == cfg.channels == cfg.model.head.in_channels
    patch = 14 if cfg.size == 518 else 32 if cfg.model.backbone.type[:4] in ('Conv', 'Swin') else 16
    assert feats.shape[2:] == (cfg.size // patch, cfg.size // patch)


RESIZED = dict.fromkeys(BACKBONES, set()) | {
    'linear_vit-b_coco512': {'pos_embed'},  # 24 x 24 places become 32 x 32
    # 16 x 16 become 37 x 37; mmpretrain's config says patches of 16 px, the weights' name p14
    'linear_vit-l_coco518': {'pos_embed', 'patch_embed.projection.weight'},
}


@pytest.mark.parametrize(
    'name', [name for name in BACKBONES if not re.search('dinov3|siglip', name)]
)
def test_mmpretrain_publishes_these_weights(name, shapes_only):
    """Address, names and shapes are those of mmpretrain's model index, so is the normalisation."""
    cfg = leaf(name)
    theirs = config_of_weights(cfg.model.backbone)
    given, built = (
        entries(MODELS.build(each)) for each in (theirs.model.backbone, cfg.model.backbone)
    )
    assert given.keys() == built.keys()
    assert {key for key in given if given[key] != built[key]} == RESIZED[name]
    # their configs of fine-tuned weights have ImageNet's, those of CLIP its own
    if 'clip' in Path(theirs.filename).parent.name:
        theirs = Config.fromfile(MMPRETRAIN / 'configs/clip/clip_vit-base-p16_zeroshot-cls_in1k.py')
    for key in ('mean', 'std'):
        expected = (theirs.get('data_preprocessor') or theirs.model.data_preprocessor)[key]
        assert cfg.data_preprocessor[key] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('name', [name for name in BACKBONES if re.search('dinov3|siglip', name)])
def test_timm_publishes_these_weights(name):
    cfg = leaf(name)
    timm = needs_timm_for(cfg.model.backbone)
    model = cfg.model.backbone.model_name
    assert model in timm.list_pretrained()
    published = timm.get_pretrained_cfg(model)
    for key in ('mean', 'std'):
        expected = [255 * value for value in getattr(published, key)]
        assert cfg.data_preprocessor[key] == pytest.approx(expected)


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_a_leaf_says_what_is_downloaded(path):
    cfg = Config.fromfile(path)
    text = path.read_text()
    assert re.search(r'[Dd]ownloads (\d+ MB|\d\.\d GB)', text)
    timm = cfg.model.backbone.get('module', cfg.model.backbone).type == 'LazyTIMMBackbone'
    assert ("pip install -e '.[timm]'" in text) == timm


# --- docs/models.md --------------------------------------------------------------------------

DOCUMENT = (ROOT / 'docs' / 'models.md').read_text(encoding='utf-8')


def test_every_leaf_and_every_backbone_is_in_the_document():
    for path in LEAVES:
        assert f'(../configs/foundation/{path.name})' in DOCUMENT
    for path in (FOLDER / '_base_').glob('*_*.py'):
        assert f'`{path.stem}`' in DOCUMENT or 'adamw' in path.stem


def test_the_documented_config_swaps_the_backbone_in_one_line(tmp_path):
    (example,) = re.findall(r'```python\n(.*?)```', DOCUMENT, re.DOTALL)
    swapped = example.replace('vit-l_dinov3', 'vit-b_clip')
    assert len({*example.splitlines()} - {*swapped.splitlines()}) == 1
    for text in (example, swapped):
        text = text.replace("'./_base_", f"'{FOLDER}/_base_").replace("'../", f"'{ROOT}/configs/")
        (tmp_path / 'leaf.py').write_text(text)
        cfg = Config.fromfile(tmp_path / 'leaf.py')
        assert cfg.model.neck.in_channels == cfg.channels
    expected = leaf('sadcl_vit-b_coco512')  # the second one is this leaf
    for key in ('model', 'data_preprocessor', 'optim_wrapper', 'train_dataloader'):
        assert cfg[key] == expected[key]


# --- any size --------------------------------------------------------------------------------


@pytest.mark.parametrize('name', BACKBONES)
def test_images_of_any_size_give_a_map(name, size=(96, 128)):
    backbone = tiny(name)
    patch = 14 if '518' in name else 32 if re.search('convnext|swin', name) else 16
    with torch.no_grad():
        feats = backbone(torch.randn(2, 3, *size))[-1]
    # a patch that is cut off by the border is filled up with zeros
    assert feats.shape[2:] == tuple(-(-side // patch) for side in size)
    assert feats.isfinite().all()


# --- bfloat16 --------------------------------------------------------------------------------


@pytest.mark.parametrize('name', [*BACKBONES, 'linear_vit-b_coco512_lora'])
def test_bfloat16_gives_the_features_of_float32_and_finite_gradients(name):
    backbone, images = tiny(name), torch.randn(2, 3, SIZE, SIZE)
    exact = backbone(images)[-1]
    with torch.autocast('cpu', torch.bfloat16):
        feats = backbone(images)[-1]
    # bfloat16 has 8 bits: some 0.4 % of each number, through two layers
    assert (feats.float() - exact).norm() < 0.03 * exact.norm()
    (feats.float() * torch.randn_like(exact)).sum().backward()
    grads = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert grads and all(grad.isfinite().all() for grad in grads)


# --- recomputing -----------------------------------------------------------------------------

LAYERS = {
    'linear_vit-b_coco512': 'layers',
    'linear_vit-b_coco512_lora': 'module.layers',
    'linear_vit-b-dinov3_coco512': 'timm_model.blocks',
    'linear_vit-l-siglip2_coco512': 'timm_model.blocks',
    'linear_convnext-b_coco512': 'stages',
    'linear_swin-v2-b_coco512': 'stages',
}


def run(backbone):
    """Features, gradients by name, and the number of values kept for the backward pass."""
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    given = {value.untyped_storage().data_ptr() for value in (images, *backbone.parameters())}
    kept = []

    def keep(value):
        if value.untyped_storage().data_ptr() not in given:
            kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        (*_, feats) = backbone(images)
    (feats**2).sum().backward()
    grads = {name: p.grad for name, p in backbone.named_parameters() if p.requires_grad}
    return feats, grads, sum(kept)


@pytest.mark.parametrize('name', LAYERS)
def test_recomputed_layers_give_the_same_gradients_for_less_memory(name):
    plain = tiny(name, training=True)
    recomputed = tiny(name, training=True)
    recomputed.load_state_dict(plain.state_dict(), strict=False)  # Swin-V2 derives some itself
    recompute_parts(nn.ModuleDict(dict(backbone=recomputed)), f'backbone.{LAYERS[name]}')
    (feats, grads, kept), (feats2, grads2, kept2) = run(plain), run(recomputed)
    assert_close(feats2, feats, rtol=0, atol=0)
    assert all(grad is not None for grad in grads.values())
    assert_close(grads2, grads, rtol=0, atol=0)
    assert kept2 < 0.5 * kept
