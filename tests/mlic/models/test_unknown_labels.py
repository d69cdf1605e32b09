"""Labels that nobody looked at are in no loss and in no gradient, whatever stands there.

The properties hold for every loss and every head that is registered here or used by a config: a new
one must be entered below. B images, C classes, D embed dims, P projection dims.
"""

import copy
import inspect
import itertools
import re

import numpy as np
import pytest
import torch
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

import tests.methods  # noqa: F401
from mlic.models.data_preprocessor import MultiLabelDataPreprocessor
from mlic.models.losses.known_labels import loss_of_known
from mlic.models.targets import host_copy, is_absent, is_present, positive_pairs, target_of
from projects.dsdl.dsdl_head import DSDLHead, one_over
from projects.sadcl.models.contrastive_losses import PSCLLoss, SSCLLoss
from tests import reference
from tests.helpers import ROOT

BCE = dict(type='CrossEntropyLoss', use_sigmoid=True)
ASYMMETRIC = dict(type='StopGradAsymmetricLoss', gamma_neg=4.0, gamma_pos=1.0, clip=0.05)
SMOOTH = dict(type='LabelSmoothLoss', label_smooth_val=0.2, mode='multi_label')
# of logits and a target
LOSSES = {
    'AsymmetricLoss': dict(type='AsymmetricLoss'),
    'CrossEntropyLoss': dict(BCE, pos_weight=2.0, class_weight=[1.0, 2.0, 3.0, 4.0, 5.0]),
    'FocalLoss': dict(type='FocalLoss'),
    'LabelSmoothLoss': SMOOTH,
    'MarginLoss': dict(type='MarginLoss', margin=5.0),
    'MultiLabelSoftMarginLoss': dict(type='MultiLabelSoftMarginLoss'),
    'StopGradAsymmetricLoss': ASYMMETRIC,
}
# these make something else of unknown labels than to leave them out; what, test_missing_labels.py
OPTIONS = {
    'ExpectedPositiveLoss': dict(type='ExpectedPositiveLoss', loss=BCE, expected=2.0),
    'PriorSmoothLoss': dict(type='PriorSmoothLoss', loss=BCE, prior=0.3),
    'WeakNegativeLoss': dict(type='WeakNegativeLoss', loss=ASYMMETRIC),
}
CONTRASTS = {'ImageSupConLoss', 'PSCLLoss', 'SSCLLoss', 'SupConLoss'}  # in the heads that have them

EMBEDS, MAP, POOLED = (4, 5, 6), (4, 6, 2, 2), (4, 6)
SADCL = dict(type='SADCLHead', proj_channels=3, bank_slots=4, bank_threshold=0.0)
TDRG = dict(type='TDRGHead', in_channels=(2, 6), embed_dims=4, graph_dims=3, num_layers=1)
TDRG.update(num_heads=2, feedforward_channels=2)
MULCON = dict(type='MulConHead', proj_channels=3)
# the config of a head, the shape of its features, and whether a class has some to itself
HEADS = {
    'ADDGCNHead': [(dict(type='ADDGCNHead'), EMBEDS, True)],
    'CCDHead': [(dict(type='CCDHead', cosine=dict(num_heads=2)), MAP, False)],
    'CTranHead': [  # without labels that are given: those are drawn
        (
            dict(type='CTranHead', num_heads=2, num_layers=2, dropout=0.0, known_labels=0.0),
            MAP,
            False,
        )
    ],
    'CPCLHead': [
        (
            dict(type='CPCLHead', hidden_channels=3, embed_dims=2, vectors=dict(dims=2)),
            MAP,
            False,
        )
    ],
    'CSRAClsHead': [(dict(type='CSRAClsHead', num_heads=1, lam=0.1), MAP, False)],
    'DSDLHead': [
        (
            dict(type='DSDLHead', hidden_channels=3, dictionary_weight=0.1, vectors=dict(dims=2)),
            MAP,
            False,
        )
    ],
    'ImageContrastHead': [(dict(type='ImageContrastHead', proj_channels=3), POOLED, False)],
    'LabelEmbedHead': [(dict(type='LabelEmbedHead'), EMBEDS, True)],
    'MCARHead': [
        (dict(type='MCARHead', loss_weights={'cls': 1.0, 'global': 0.5, 'local': 0.5}), MAP, False)
    ],
    'MLDecoderHead': [
        (
            dict(
                type='MLDecoderHead', embed_dims=8, num_heads=2, feedforward_channels=4, dropout=0.0
            ),
            MAP,
            False,
        )
    ],
    'MLGCNHead': [(dict(type='MLGCNHead', hidden_channels=3, vectors=dict(dims=2)), MAP, False)],
    'MulConHead': [
        (dict(MULCON, num_views=2), (8, 5, 6), True),
        (dict(MULCON, num_views=2, denominator_size=1000), (8, 5, 6), True),
        (dict(MULCON, num_views=1, loss_con=None), EMBEDS, True),
    ],
    'MultiLabelClsHead': [(dict(type='MultiLabelClsHead'), (4, 5), True)],
    'MultiLabelLinearClsHead': [(dict(type='MultiLabelLinearClsHead'), POOLED, False)],
    'R101TFHead': [(dict(type='R101TFHead'), EMBEDS, False)],
    'SADCLHead': [
        (dict(SADCL, loss_sscl=dict(type='SSCLLoss')), EMBEDS, True),
        (dict(SADCL, loss_pscl=dict(type='PSCLLoss', present_only=True)), EMBEDS, True),
        (dict(SADCL, prototype_momentum=0.5), EMBEDS, True),
    ],
    'TDRGHead': [(dict(TDRG, attend='batch'), (4, 6, 3, 3), False), (TDRG, (4, 6, 3, 3), False)],
}
# what a head takes before those features
FIRST = {'ADDGCNHead': (4, 5), 'MCARHead': (4, 2, 6, 2, 2), 'TDRGHead': (4, 2, 4, 4)}
LABEL_FREE = {'loss_dictionary', 'cosine'}  # DSDL's, of images and vectors alone
CASES = [pytest.param(*case, id=f'{n}{i}') for n in HEADS for i, case in enumerate(HEADS[n])]

NAN = float('nan')
# class 4 is known in no image, image 3 has nothing known but one absence
TARGET = torch.tensor(
    [
        [1.0, 0.0, NAN, 1.0, NAN],
        [NAN, 1.0, 0.0, 1.0, NAN],
        [0.0, NAN, 1.0, NAN, NAN],
        [NAN, NAN, NAN, 0.0, NAN],
    ]
)
UNKNOWN = TARGET.isnan()
FILLS = [0.0, 1.0, 0.3, NAN]


def names_of(suffix):
    """Registered here, or used by a config."""
    ours = {
        name
        for name, cls in MODELS.module_dict.items()
        if name.endswith(suffix) and cls.__module__.startswith(('mlic.', 'projects.'))
    }
    texts = (path.read_text() for path in ROOT.glob('configs/**/*.py'))
    return ours.union(*(re.findall(rf"type='(\w+{suffix})'", text) for text in texts))


def test_every_loss_and_head_is_looked_at_here():
    assert names_of('Loss') <= {*LOSSES, *OPTIONS, *CONTRASTS}
    assert names_of('Head') <= set(HEADS)
    contrasts = {name for name in CONTRASTS if name in str(HEADS)}
    # of ImageContrastHead, SADCLHead and MulConHead
    defaults = {'ImageSupConLoss', 'PSCLLoss', 'SupConLoss'}
    assert contrasts | defaults == CONTRASTS


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).requires_grad_()


def samples(fill, target=TARGET):
    """Data samples whose labels have ``fill`` where they are unknown."""
    found = []
    for row in target:
        sample = DataSample().set_gt_score(row.nan_to_num(fill))
        sample.set_metainfo(dict(gt_label_unknown=row.isnan().nonzero().flatten().tolist()))
        found.append(sample)
    return found


def prepared(fill, target=TARGET, **settings):
    """The samples as the preprocessor leaves them for training."""
    preprocess = MultiLabelDataPreprocessor(num_classes=5, to_onehot=True, **settings)
    data = dict(inputs=torch.zeros(len(target), 3, 2, 2), data_samples=samples(fill, target))
    return preprocess(data, training=True)['data_samples']


def same(first, second):
    """Equal to the last bit, NaN being equal to itself."""
    assert_close(first, second, rtol=0, atol=0, equal_nan=True)


# --- losses of scores --------------------------------------------------------------------------


@pytest.mark.parametrize('name', LOSSES)
def test_a_loss_is_the_sum_over_the_known_entries_divided_by_the_images(name):
    loss, logits = MODELS.build(LOSSES[name]), draw(4, 5)
    total = loss_of_known(loss, logits, TARGET)
    # of a whole target entry by entry, each in a batch of its own
    expected = 0
    for b, c in itertools.product(range(4), range(5)):
        if not UNKNOWN[b, c]:
            per_entry = loss(logits[b : b + 1], TARGET[b : b + 1].nan_to_num(0.7), avg_factor=1)
            others = [
                loss(
                    logits[b : b + 1],
                    TARGET[b : b + 1].nan_to_num(0.7),
                    reduction_override='none',
                )[0, k]
                for k in range(5)
                if k != c
            ]
            expected = expected + per_entry - sum(others)
    assert_close(total, expected / 4, rtol=1e-4, atol=1e-5)
    (grad,) = torch.autograd.grad(total, logits)
    (expected_grad,) = torch.autograd.grad(expected / 4, logits)
    assert_close(grad, expected_grad, rtol=1e-4, atol=1e-5)
    assert not grad[UNKNOWN].any() and grad[~UNKNOWN].all()


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('logit', [-1e4, 1e4, torch.inf, NAN])
def test_the_logit_of_an_unknown_label_may_be_anything(name, logit):
    loss, outcomes = MODELS.build(LOSSES[name]), []
    for value in (0.0, logit):
        logits = draw(4, 5).detach().masked_fill(UNKNOWN, value).requires_grad_()
        total = loss_of_known(loss, logits, TARGET)
        outcomes.append((total, *torch.autograd.grad(total, logits)))
    assert torch.isfinite(outcomes[0][0])
    same(*outcomes)


@pytest.mark.parametrize('name', [*LOSSES, 'WeakNegativeLoss'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.int64])
def test_where_all_is_known_a_loss_is_what_it_was(name, dtype):
    settings = {**LOSSES, **OPTIONS}[name]
    loss, logits = MODELS.build(settings), draw(4, 5)
    plain = MODELS.build(settings.get('loss', settings))
    target = TARGET.nan_to_num(1.0).to(dtype)
    totals = loss_of_known(loss, logits, target), plain(logits, target, avg_factor=4)
    same(*totals)
    same(*(torch.autograd.grad(total, logits)[0] for total in totals))


@pytest.mark.parametrize('name', LOSSES)
def test_the_loss_of_a_batch_is_the_mean_of_its_parts(name):
    """Of processes, and of steps that are accumulated, whatever is known in each."""
    loss, logits = MODELS.build(LOSSES[name]), draw(4, 5)
    parts = [loss_of_known(loss, logits[rows], TARGET[rows]) for rows in ([0, 1], [2, 3])]
    assert_close(sum(parts) / 2, loss_of_known(loss, logits, TARGET))


@pytest.mark.parametrize('unknown', [False, True])
def test_a_sum_is_refused_whatever_is_known(unknown):
    target = torch.tensor([[1.0, torch.nan if unknown else 0.0]])
    loss = MODELS.build(dict(type='StopGradAsymmetricLoss', reduction='sum'))
    with pytest.raises(ValueError, match="reduction='sum'.*loss_weight=B"):
        loss_of_known(loss, torch.zeros(1, 2), target)


def test_a_loss_whose_entries_cannot_be_told_apart_says_so():
    class RankLoss(torch.nn.Module):
        def forward(self, cls_score, target, avg_factor, reduction_override=None):
            return (cls_score * target).sum(dim=1)

    with pytest.raises(ValueError, match=r'RankLoss .* shape \(4,\) .*unknown="negative"'):
        loss_of_known(RankLoss(), draw(4, 5), TARGET)
    loss_of_known(RankLoss(), draw(4, 5), TARGET.nan_to_num(0))


# --- heads -------------------------------------------------------------------------------------


def make_head(settings, **changes):
    torch.manual_seed(0)
    if settings['type'] != 'MultiLabelClsHead':
        settings = {**dict(in_channels=6, num_classes=5), **settings, **changes}
    return MODELS.build(settings).train()


def draw_feats(settings, feats_shape):
    """All that a head takes."""
    first = FIRST.get(settings['type'])
    return (*([draw(*first, seed=2)] if first else ()), draw(*feats_shape, seed=1))


def step(settings, feats_shape, data_samples, **changes):
    """Losses, all gradients and all buffers after a training step."""
    head, feats = make_head(settings, **changes), draw_feats(settings, feats_shape)
    data_samples = data_samples * (feats_shape[0] // len(data_samples))  # views
    losses = head.loss(feats, data_samples)
    sum(losses.values()).backward()
    grads = {name: p.grad for name, p in head.named_parameters()}
    return losses, feats[-1].grad, grads, dict(head.named_buffers())


@pytest.mark.parametrize('prepare', [prepared, samples], ids=['preprocessor', 'none'])
@pytest.mark.parametrize('settings, feats_shape, apart', CASES)
def test_what_stands_at_an_unknown_label_changes_nothing(settings, feats_shape, apart, prepare):
    outcomes = [step(settings, feats_shape, prepare(fill)) for fill in FILLS]
    for outcome in outcomes[1:]:
        same(outcome, outcomes[0])
    losses, feats_grad, grads, _ = outcomes[0]
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    assert torch.isfinite(feats_grad).all()
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads.values())
    if apart:  # neither as an anchor, nor a positive, nor in a denominator
        unknown = UNKNOWN.repeat(feats_shape[0] // 4, 1)
        assert not feats_grad[unknown].any() and feats_grad[~unknown].any()
    as_negative = step(settings, feats_shape, samples(0.0, TARGET.nan_to_num(0.0)))
    assert not torch.equal(as_negative[1], feats_grad)


@pytest.mark.parametrize('option', OPTIONS)
@pytest.mark.parametrize('name', HEADS)
def test_the_options_know_no_unknown_label_either(name, option):
    settings, feats_shape, _ = HEADS[name][-1]
    parameters = inspect.signature(MODELS.get(name)).parameters
    key = 'loss_cls' if 'loss_cls' in parameters else 'loss'
    settings = {**settings, key: OPTIONS[option]}
    outcomes = [step(settings, feats_shape, prepared(fill)) for fill in FILLS]
    for outcome in outcomes[1:]:
        same(outcome, outcomes[0])
    assert torch.isfinite(outcomes[0][1]).all() and outcomes[0][1].any()


@pytest.mark.parametrize('settings, feats_shape, apart', CASES)
@pytest.mark.parametrize('key', ['gt_score', 'gt_label'])
def test_where_all_is_known_a_head_loses_what_it_did(settings, feats_shape, apart, key):
    target = TARGET.nan_to_num(1.0)
    head, feats = make_head(settings), draw_feats(settings, feats_shape)
    views = feats_shape[0] // 4
    expected = head.loss_module(head(feats), target.repeat(views, 1), avg_factor=4 * views)
    if isinstance(head, DSDLHead):  # its whole loss is divided
        expected = one_over(head.dictionary()[1]) * expected
    if key == 'gt_score':
        data_samples = prepared(0.0, target)
    else:
        data_samples = [DataSample().set_gt_label(row.nonzero().flatten()) for row in target]
    losses = step(settings, feats_shape, data_samples)[0]
    same(losses.get('loss_cls', losses.get('loss')), expected)


def test_what_is_remembered_of_embeddings_is_of_known_labels():
    settings = dict(SADCL, prototype_momentum=0.5, bank_threshold=-1.0)
    before = {name: value.clone() for name, value in make_head(settings).named_buffers()}
    after = step(settings, EMBEDS, prepared(1.0))[3]
    changed = (after['memory_bank'] != before['memory_bank']).any(dim=2)
    assert torch.equal(changed, TARGET == 1)
    changed = (after['prototypes'] != before['prototypes']).any(dim=1)
    assert torch.equal(changed, (TARGET == 1).any(dim=0))


def test_a_head_of_somebody_else_leaves_them_out_as_well():
    class Head(MultiLabelClsHead):
        pass

    logits = draw(4, 5)
    loss = Head(loss=BCE).loss((logits,), prepared(1.0))['loss']
    assert_close(loss, loss_of_known(MODELS.build(BCE), logits, TARGET), rtol=0, atol=0)


@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_a_head_of_mmpretrain_has_its_own_loss_where_all_is_known(reduction):
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True, reduction=reduction)
    head, logits, target = MultiLabelClsHead(loss=loss), draw(4, 5), TARGET.nan_to_num(0)
    found = head.loss((logits,), samples(0.0, target))['loss']
    entries = binary_cross_entropy_with_logits(logits, target, reduction='none')
    assert_close(found, entries if reduction == 'none' else entries.sum() / 4)


def test_an_image_of_which_nothing_is_known_has_no_loss_and_a_graph():
    nothing = torch.full((4, 5), NAN)
    for name in HEADS:
        for settings, feats_shape, _ in HEADS[name]:
            losses, feats_grad, grads, _ = step(settings, feats_shape, prepared(0.0, nothing))
            assert all(losses[key] == 0 for key in losses.keys() - LABEL_FREE), name
            assert None not in grads.values(), name
            assert losses.keys() & LABEL_FREE or not feats_grad.any(), name


# --- contrast ----------------------------------------------------------------------------------


@pytest.mark.parametrize('gather', [False, True])
@pytest.mark.parametrize('target', [TARGET, TARGET[:, :3], TARGET.flip(1) * 0, TARGET * NAN])
def test_prototypes_are_contrasted_with_the_images_where_the_class_is_known(target, gather):
    num_classes = target.shape[1]
    z, prototypes = draw(4, num_classes, 3), draw(num_classes, 3, seed=1)
    loss = PSCLLoss(gather=gather)(z, prototypes, target)
    expected = reference.pscl(z, prototypes, target, 0.07)
    assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, (z, prototypes), retain_graph=True),
        torch.autograd.grad(expected, (z, prototypes)),
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize('anchors', ['all', 'official'])
def test_samples_are_contrasted_where_the_class_is_known_to_be_present(anchors):
    features = draw(4, 2, 5, 3)
    image, label = positive_pairs(TARGET)
    loss = SSCLLoss(anchors=anchors)(
        features[image, :, label].transpose(0, 1), TARGET, image, label
    )
    assert_close(loss, reference.sscl(features, TARGET.nan_to_num(0.0), 0.2, anchors))


# --- the preprocessor --------------------------------------------------------------------------


def test_a_training_batch_has_the_unknown_labels_on_device_and_host():
    target = target_of(prepared(1.0), 5, torch.float32, torch.device('cpu'))
    same(target, TARGET)
    same(host_copy(target), TARGET)
    assert host_copy(target) is not target
    known = ~UNKNOWN
    assert torch.equal(is_present(target), known & (TARGET == 1))
    assert torch.equal(is_absent(target), known & (TARGET == 0))
    expected = (TARGET == 1).nonzero(as_tuple=True)
    assert all(torch.equal(a, b) for a, b in zip(positive_pairs(target), expected))


@pytest.mark.parametrize('training', [True, False])
def test_indices_and_scores_are_alike(training):
    rows = []
    for kind in ('gt_label', 'gt_score'):
        data_samples = samples(1.0)
        if kind == 'gt_label':
            for sample, row in zip(data_samples, TARGET):
                sample.set_gt_label((row == 1).nonzero().flatten())
                del sample.gt_score
        preprocess = MultiLabelDataPreprocessor(num_classes=5, to_onehot=True)
        data = dict(inputs=torch.zeros(4, 3, 2, 2), data_samples=data_samples)
        found = preprocess(data, training)['data_samples']
        rows.append(torch.stack([sample.gt_score for sample in found]).float())
    same(*rows)
    same(rows[0], TARGET if training else TARGET.nan_to_num(0.0))


def test_a_batch_that_is_evaluated_loses_what_one_for_training_does():
    preprocess = MultiLabelDataPreprocessor(num_classes=5, to_onehot=True)
    data = dict(inputs=torch.zeros(4, 3, 2, 2), data_samples=samples(0.3))
    found = preprocess(data, training=False)['data_samples']
    same(target_of(found, 5, torch.float32, torch.device('cpu')), TARGET)


def test_assumed_negative_they_are_absent_to_everything():
    for fill in FILLS:
        found = prepared(fill, unknown='negative')
        target = target_of(found, 5, torch.float32, torch.device('cpu'))
        same(target, TARGET.nan_to_num(0.0))
    with pytest.raises(ValueError, match=r"unknown must be one of .* got 'positive'"):
        prepared(0.0, unknown='positive')


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_of_a_blend_an_entry_is_known_if_it_is_in_both_parts(kind, monkeypatch):
    monkeypatch.setattr(torch, 'randperm', lambda size: torch.arange(size).flip(0))
    augments = dict(augments=[dict(type=kind, alpha=1.0)])
    for seed in range(5):
        np.random.seed(seed)
        found = prepared(1.0, batch_augments=copy.deepcopy(augments))
        target = torch.stack([sample.gt_score for sample in found])
        assert torch.equal(target.isnan(), UNKNOWN | UNKNOWN.flip(0))
        np.random.seed(seed)
        whole = prepared(1.0, TARGET.nan_to_num(1.0), batch_augments=copy.deepcopy(augments))
        whole = torch.stack([sample.gt_score for sample in whole])
        assert_close(target[~target.isnan()], whole[~target.isnan()], rtol=0, atol=0)
