"""Targets between 0 and 1, of Mixup, CutMix and smoothed labels, against loops over the formulas.

B images, C classes, D embed dims, P projection dims.
"""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.testing import assert_close

import projects.c_tran
import projects.ml_decoder
import projects.mulcon
import projects.sadcl  # noqa: F401
from mlic.models.losses.asymmetric_loss import StopGradAsymmetricLoss
from mlic.models.losses.supcon_loss import SupConLoss
from mlic.models.targets import is_present
from projects.sadcl.models.contrastive_losses import PSCLLoss, pscl_loss
from tests import reference
from tests.helpers import ROOT, code_of
from tests.tiny_runs import every_model, plain_model, sarl_model

EXACT = dict(rtol=1e-9, atol=1e-12)
# thresholds, both sides of one half, and what smoothing makes of 0 and 1
SOFT = torch.tensor(
    [
        [0.0, 1.0, 0.5, 0.49, 0.05],
        [0.95, 0.3, 0.7, 0.0, 1.0],
        [0.05, 0.05, 0.51, 0.5, 0.0],
        [1.0, 0.0, 0.2, 0.8, 0.6],
    ],
    dtype=torch.float64,
)
HARD = torch.tensor([[0, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 1, 1, 0], [1, 0, 0, 1, 1]])
BCE = dict(type='CrossEntropyLoss', use_sigmoid=True)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_a_class_is_present_from_one_half_on():
    assert torch.equal(is_present(SOFT), HARD > 0)
    for dtype in (torch.bool, torch.uint8, torch.float16):
        assert torch.equal(is_present(HARD.to(dtype)), HARD > 0)


# --- losses of scores --------------------------------------------------------------------------


@pytest.mark.parametrize('gamma_neg,gamma_pos,clip', [(0, 0, 0), (4, 0, 0), (4, 1, 0.05)])
def test_the_asymmetric_loss_is_the_mean_over_what_a_label_may_be(gamma_neg, gamma_pos, clip):
    settings = dict(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, eps=0.01)
    logits = draw(4, 5)
    expected = reference.asymmetric(logits, SOFT, **settings)
    actual = StopGradAsymmetricLoss(**settings, reduction='none')(logits, SOFT)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (actual, expected)]
    assert_close(actual, expected, **EXACT)
    assert_close(*gradients, **EXACT)


def test_binary_cross_entropy_is_the_same_mean():
    logits = draw(4, 5)
    settings = dict(gamma_neg=0, gamma_pos=0, clip=0, eps=1e-30)
    expected = reference.asymmetric(logits, SOFT, **settings).sum() / 4
    loss = MODELS.build(BCE)(logits, SOFT, avg_factor=4)  # in float32, whatever comes
    assert_close(loss, expected.float(), rtol=1e-6, atol=1e-6)


HEADS = {
    'bce': dict(type='LabelEmbedHead'),
    'asymmetric': dict(
        type='LabelEmbedHead', loss_cls=dict(type='StopGradAsymmetricLoss', gamma_neg=4.0)
    ),
    'sadcl': dict(type='SADCLHead', proj_channels=3, bank_slots=8),
    'mulcon': dict(type='MulConHead', loss_con=None, num_views=1),
    'ml-decoder': dict(type='MLDecoderHead', embed_dims=8, num_heads=2, feedforward_channels=4),
    'linear': dict(type='MultiLabelLinearClsHead', loss=BCE),
}


def make_head(name, **changes):
    torch.manual_seed(0)
    return MODELS.build({**HEADS[name], 'num_classes': 5, 'in_channels': 6, **changes}).double()


def make_feats(name, images=4):
    shape = {'linear': (images, 6), 'ml-decoder': (images, 6, 2, 2)}.get(name, (images, 5, 6))
    return (draw(*shape, seed=1),)


def samples(target):
    return [DataSample().set_gt_score(row) for row in target]


@pytest.mark.parametrize('name', HEADS)
def test_the_loss_of_a_blend_of_targets_is_the_blend_of_their_losses(name):
    """What Mixup is defined as (Zhang et al., 2018)."""
    head, feats = make_head(name).eval(), make_feats(name)
    first, second, share = HARD.double(), HARD.double().flip(0), 0.3
    blend = share * first + (1 - share) * second
    key = 'loss' if name == 'linear' else 'loss_cls'
    losses = [head.loss(feats, samples(target))[key] for target in (first, second, blend)]
    # mmpretrain's heads have their target in float32
    assert_close(losses[2], share * losses[0] + (1 - share) * losses[1], rtol=1e-6, atol=1e-6)
    assert not torch.equal(losses[0], losses[2])


def test_smoothed_labels_are_those_of_the_loss_that_smooths():
    head = make_head(
        'bce',
        loss_cls=dict(
            type='LabelSmoothLoss', label_smooth_val=0.2, num_classes=5, mode='multi_label'
        ),
    )
    feats = make_feats('bce')
    loss = head.loss(feats, samples(HARD.double()))['loss_cls']
    smoothed = torch.where(HARD > 0, 0.8, 0.2).double()
    settings = dict(gamma_neg=0, gamma_pos=0, clip=0, eps=1e-30)
    expected = reference.asymmetric(head(feats), smoothed, **settings).sum() / 4
    assert_close(loss, expected.float(), rtol=1e-6, atol=1e-6)


# --- contrastive losses ------------------------------------------------------------------------


@pytest.mark.parametrize('gather', [False, True])
def test_contrast_takes_the_classes_that_are_present(gather):
    z, prototypes = draw(4, 5, 3), draw(5, 3, seed=2)
    expected = reference.pscl(z, prototypes, HARD, 0.07)
    assert_close(pscl_loss(z, prototypes, SOFT), expected, **EXACT)
    assert_close(PSCLLoss(gather=gather)(z, prototypes, SOFT), expected, **EXACT)
    views = draw(4, 2, 5, 3)
    image, label = is_present(SOFT).nonzero(as_tuple=True)
    active = views[image, :, label].transpose(0, 1)
    loss = SupConLoss(gather=gather)(active, SOFT, image, label)
    assert_close(loss, reference.sscl(views, HARD, 0.2), **EXACT)


@pytest.mark.parametrize('anchors', ['all', 'official'])
def test_sadcl_contrasts_and_remembers_the_classes_that_are_present(anchors):
    losses, banks = [], []
    for target in (SOFT, HARD.double()):
        sscl = dict(type='SSCLLoss', anchors=anchors)
        head = make_head('sadcl', loss_sscl=sscl, bank_threshold=0.0).train()
        losses.append(head.loss(make_feats('sadcl'), samples(target)))
        banks.append(head.memory_bank)
    for name in ('loss_sscl', 'loss_pscl'):
        assert_close(losses[0][name], losses[1][name], **EXACT)
        assert losses[0][name] > 0
    assert torch.equal(*banks)
    assert losses[0]['loss_cls'] != losses[1]['loss_cls']


def test_mulcon_contrasts_the_classes_that_are_present():
    losses = []
    for target in (SOFT, HARD.double()):
        head = make_head('mulcon', num_views=2, loss_con=dict(type='SupConLoss'), proj_channels=3)
        head.denominator_size = 30  # hard negatives, too
        losses.append(head.loss(make_feats('mulcon', 8), samples(target) * 2)['loss_con'])
    assert_close(*losses, **EXACT)
    assert losses[0] > 0


# --- batch augmentations -----------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
@pytest.mark.parametrize('method', ['sadcl', 'linear'])
def test_a_batch_that_is_blended_trains_on_the_blended_targets(kind, method):
    contrast = dict(proj_channels=3, bank_slots=4, loss_sscl=dict(type='SSCLLoss'))
    model = sarl_model(5, **contrast) if method == 'sadcl' else plain_model(5)
    augments = dict(augments=[dict(type=kind, alpha=1.0)])
    preprocessor = dict(num_classes=5, to_onehot=True, batch_augments=augments)
    model = MODELS.build(dict(model, data_preprocessor=preprocessor))
    labels = [row.nonzero().flatten() for row in HARD]
    torch.manual_seed(3)
    images = torch.rand(4, 3, 64, 64)
    data = dict(inputs=images, data_samples=[DataSample().set_gt_label(x) for x in labels])
    data = model.data_preprocessor(data, True)
    target = torch.stack([sample.gt_score for sample in data['data_samples']])
    assert ((target > 0) & (target < 1)).any()
    losses = model.eval()(**data, mode='loss')
    sum(losses.values()).backward()
    logits = model(data['inputs'], mode='tensor')
    settings = dict(gamma_neg=0, gamma_pos=0, clip=0, eps=1e-5)
    expected = reference.asymmetric(logits, target, **settings).sum() / 4
    classified = losses.pop('loss_cls', None) if method == 'sadcl' else losses.pop('loss')
    assert_close(classified, expected * (200 if method == 'sadcl' else 1), rtol=1e-4, atol=1e-4)
    present = [DataSample().set_gt_score(row) for row in is_present(target).float()]
    contrasted = model(data['inputs'], present, mode='loss')
    assert {name: contrasted[name] for name in losses} == losses


# MulCon blends in its first step, of one view; of two it refuses (below)
EVERY_MODEL = every_model(5)
EVERY_MODEL['mulcon']['head'].update(num_views=1, loss_con=None)
EVERY_MODEL['sadcl']['head'].update(
    proj_channels=8, bank_slots=4, loss_sscl=dict(type='SSCLLoss'), loss_pscl=dict(type='PSCLLoss')
)


@pytest.mark.parametrize('place', ['train_cfg', 'data_preprocessor'])
@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
@pytest.mark.parametrize('name', EVERY_MODEL)
def test_every_head_trains_a_step_on_blended_images(name, kind, place, monkeypatch):
    """The share of an image in a blend is seen in its pixels; its target must say the same."""
    augments = dict(augments=[dict(type=kind, alpha=5.0)])
    preprocessor = dict(type='MultiLabelDataPreprocessor', num_classes=5, to_onehot=True)
    model = dict(copy.deepcopy(EVERY_MODEL[name]), data_preprocessor=preprocessor)
    if place == 'train_cfg':
        model['train_cfg'] = augments
    else:
        preprocessor['batch_augments'] = augments
    np.random.seed(1)
    torch.manual_seed(0)
    model = MODELS.build(model)
    model.init_weights()
    blended = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: blended.append(kwargs or args), with_kwargs=True
    )
    monkeypatch.setattr(torch, 'randperm', lambda number: torch.arange(number).roll(1))
    values = torch.tensor([0.0, 64.0, 128.0, 255.0])
    images = values.view(4, 1, 1, 1).expand(4, 3, 64, 64).to(torch.uint8)
    labels = [row.nonzero().flatten() for row in HARD]
    data = dict(inputs=images, data_samples=[DataSample().set_gt_label(x) for x in labels])
    before = {key: value.clone() for key, value in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    log = model.train().train_step(data, wrapper)
    (seen,) = blended
    share = (seen['inputs'].mean((1, 2, 3)) - values.roll(1)) / (values - values.roll(1))
    assert ((share > 0.02) & (share < 0.98)).all()
    expected = share[:, None] * HARD + (1 - share[:, None]) * HARD.roll(1, 0)
    target = torch.stack([sample.gt_score for sample in seen['data_samples']])
    assert_close(target, expected, rtol=0, atol=1e-5)
    assert all(value.isfinite().all() for value in log.values())
    after = dict(model.named_parameters())
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value, before[key]) for key, value in after.items())


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_no_head_rounds_soft_targets_under_autocast(name):
    """In bfloat16, 0.4999 is 0.5, which is present, and 0.9 is 0.8984."""
    target = torch.tensor([[0.9, 0.4999, 0.05, 1.0, 0.0]] * 4)
    model = MODELS.build(copy.deepcopy(EVERY_MODEL[name])).train()
    if name == 'c-tran':
        model.head.known_labels = 0.0  # gives none away
    taken = []
    for part in model.head.modules():
        part.register_forward_pre_hook(lambda _, args: taken.extend(args))
    with torch.autocast('cpu', torch.bfloat16):
        model.loss(torch.randn(4, 3, 64, 64), samples(target))
    arrays = [x for x in taken if isinstance(x, torch.Tensor) and x.shape == target.shape]
    found = [x for x in arrays if torch.allclose(x.float(), target, atol=0.01)]
    assert found
    for array in found:
        assert_close(array, target, rtol=0, atol=0)


def test_every_head_of_the_house_is_among_them():
    heads = [MODELS.get(kind) for kind in MODELS.module_dict if kind.endswith('Head')]
    ours = {head for head in heads if head.__module__.startswith(('mlic.', 'projects.'))}
    assert ours == {MODELS.get(model['head']['type']) for model in EVERY_MODEL.values()} & ours


def test_the_config_of_the_document_blends(tmp_path):
    (text,) = [code for code in code_of('docs/running.md', 'python') if 'Mixup' in code]
    (tmp_path / 'config.py').write_text(text.replace("_base_ = '", f"_base_ = '{ROOT}/"))
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.model.backbone.pretrained = False
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    augments = model.data_preprocessor.batch_augments
    assert [type(augment).__name__ for augment in augments.augments[:2]] == ['Mixup', 'CutMix']
    assert augments.probs[:2] == [0.3, 0.3]


def test_views_of_an_image_are_not_blended_with_other_images():
    augments = dict(augments=[dict(type='Mixup', alpha=1.0)])
    preprocessor = MODELS.build(
        dict(type='MultiViewDataPreprocessor', num_classes=5, batch_augments=augments)
    )
    data = dict(
        inputs=[torch.zeros(2, 3, 4, 4)] * 2,
        data_samples=[DataSample().set_gt_label([0]), DataSample().set_gt_label([1])],
    )
    with pytest.raises(ValueError, match='remove model.train_cfg.augments'):
        preprocessor(data, True)
