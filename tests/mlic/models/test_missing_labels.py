"""Options for missing labels against loops over their formulas. B images, C classes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch.testing import assert_close

import mlic  # noqa: F401  registers them
from tests import reference

EXACT = dict(rtol=1e-9, atol=1e-12)
NAN = float('nan')
TARGET = torch.tensor(
    [[1.0, 0.0, NAN, NAN], [NAN, 1.0, NAN, 0.3], [NAN, NAN, NAN, NAN]], dtype=torch.float64
)
FOCUS = dict(gamma_neg=2.0, gamma_pos=0.0, clip=0.05, eps=1e-5)
OWN = dict(PriorSmoothLoss=dict(prior=0.2), ExpectedPositiveLoss=dict(expected=1.0))
KINDS = ['WeakNegativeLoss', 'PriorSmoothLoss', 'ExpectedPositiveLoss']
INNER = dict(type='StopGradAsymmetricLoss', loss_weight=0.5, **FOCUS)


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()


def inner(logits, target):
    """The inner loss of each entry, (B, C)."""
    return 0.5 * reference.asymmetric(logits, target, **FOCUS)


def entries(known):
    return [(b, c) for b in range(3) for c in range(4) if known != math.isnan(TARGET[b, c])]


def check(settings, expected, logits):
    """Value and gradient; ``expected`` is of the same logits."""
    loss = MODELS.build(dict(settings, loss=INNER))(logits, TARGET)
    assert_close(loss, expected, **EXACT)
    grads = [torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, expected)]
    assert_close(*grads, **EXACT)


@pytest.mark.parametrize('weight', [None, 0.0, 0.7])
def test_weak_negatives_are_absences_of_little_weight(weight):
    logits, gamma = draw(), 1 / 3 if weight is None else weight
    per_entry = inner(logits, TARGET.nan_to_num(0.0))
    expected = sum(per_entry[entry] for entry in entries(known=True))
    expected = expected + gamma * sum(per_entry[entry] for entry in entries(known=False))
    check(dict(type='WeakNegativeLoss', weight=weight), expected / 3, logits)


def test_one_positive_label_weighs_as_much_as_all_the_weak_negatives():
    """The case of the paper, with its binary cross-entropy."""
    logits = torch.zeros(1, 4, dtype=torch.float64)
    target = torch.tensor([[NAN, 1.0, NAN, NAN]])
    bce = dict(type='CrossEntropyLoss', use_sigmoid=True)
    loss = MODELS.build(dict(type='WeakNegativeLoss', loss=bce))(logits, target)
    assert_close(loss.item(), 2 * math.log(2))


@pytest.mark.parametrize('classes, gamma', [(1, 1.0), (2, 1.0), (3, 0.5)])
def test_weak_negatives_of_an_image_weigh_one_over_the_other_classes(classes, gamma):
    loss = MODELS.build(dict(type='WeakNegativeLoss', loss=dict(type='StopGradAsymmetricLoss')))
    logits, target = torch.zeros(1, classes), torch.full((1, classes), NAN)
    assert_close(loss(logits, target).item(), classes * gamma * math.log(2))


@pytest.mark.parametrize('expected_positives, weight', [(1.5, 1.0), (4.0, 0.25), (0.0, 0.0)])
def test_expected_positives_regularise_the_mean_number_of_labels(expected_positives, weight):
    logits = draw()
    per_entry = inner(logits, TARGET.nan_to_num(0.0))
    known = sum(per_entry[entry] for entry in entries(known=True)) / 3
    found = sum(1 / (1 + torch.exp(-logits[b, c])) for b in range(3) for c in range(4)) / 3
    expected = known + weight * ((found - expected_positives) / 4) ** 2
    settings = dict(type='ExpectedPositiveLoss', expected=expected_positives, weight=weight)
    check(settings, expected, logits)


@pytest.mark.parametrize('prior', [0.25, [0.25, 0.5, 0.0, 1.0]])
@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_labels_are_smoothed_towards_the_prior_of_their_class(prior, smoothing):
    logits = draw()
    target = TARGET.nan_to_num(0.0)
    for c in range(4):
        share = prior if isinstance(prior, float) else prior[c]
        target[:, c] = (1 - smoothing) * target[:, c] + smoothing * share
    expected = inner(logits, target).sum() / 3
    check(dict(type='PriorSmoothLoss', prior=prior, smoothing=smoothing), expected, logits)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(type='WeakNegativeLoss', weight=-1.0), 'weight must not be negative, got -1.0'),
        (dict(type='WeakNegativeLoss', weight=math.nan), 'weight must not be negative, got nan'),
        (dict(type='ExpectedPositiveLoss', expected=-2.0), 'got -2.0 and 1.0'),
        (dict(type='ExpectedPositiveLoss', expected=2.0, weight=math.nan), 'got 2.0 and nan'),
        (dict(type='PriorSmoothLoss', prior=[0.5, 2.0]), r'got \[0.5, 2.0\] and 0.1'),
        (dict(type='PriorSmoothLoss', prior=0.5, smoothing=1.5), 'got 0.5 and 1.5'),
    ],
)
def test_an_option_out_of_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(settings, loss=INNER))


def test_a_prior_of_numpy_is_a_number():
    built = [
        MODELS.build(dict(type='PriorSmoothLoss', prior=kind(0.25), loss=INNER))
        for kind in (float, np.float32)
    ]
    assert built[0].prior == built[1].prior == 0.25


def test_two_answers_to_an_unknown_label_are_refused():
    inner = dict(type='PriorSmoothLoss', loss=dict(type='MultiLabelSoftMarginLoss'), prior=0.1)
    with pytest.raises(ValueError, match='WeakNegativeLoss.loss=PriorSmoothLoss.*one of them'):
        MODELS.build(dict(type='WeakNegativeLoss', loss=inner))


def test_priors_of_other_classes_are_refused():
    loss = MODELS.build(dict(type='PriorSmoothLoss', loss=INNER, prior=[0.5, 0.5]))
    with pytest.raises(ValueError, match='2 priors for 4 classes'):
        loss(draw(), TARGET)
    assert not loss.state_dict()  # a model of other classes can start from these weights


@pytest.mark.parametrize('reduction', ['sum', 'none'])
@pytest.mark.parametrize('kind', KINDS)
def test_an_inner_loss_that_is_no_mean_is_refused_when_it_is_built(kind, reduction):
    """It was ignored, or the loss was another one in a batch without unknown labels."""
    settings = dict(type=kind, loss=dict(INNER, reduction=reduction), **OWN.get(kind, {}))
    with pytest.raises(ValueError, match=f"reduction='{reduction}'.*divides by the number of"):
        MODELS.build(settings)


@pytest.mark.parametrize('kind', KINDS)
def test_half_precision_and_targets_of_whole_numbers_are_raised(kind):
    logits, target = draw().bfloat16(), TARGET.nan_to_num(0.0).round()
    loss = MODELS.build(dict(type=kind, loss=INNER, **OWN.get(kind, {})))
    expected = loss(logits.float(), target.float())
    assert_close(loss(logits, target.int()), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    'settings',
    [dict(type='WeakNegativeLoss'), dict(type='PriorSmoothLoss', prior=0.5, smoothing=0.0)],
    ids=lambda settings: settings['type'],
)
def test_an_inner_loss_of_mmpretrain_is_divided_by_the_images(settings):
    """Unless it is told their number it divides by the entries."""
    logits, target = draw().float(), TARGET.nan_to_num(0.0).float()
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction='sum') / 3
    inner = dict(type='CrossEntropyLoss', use_sigmoid=True)
    assert_close(MODELS.build(dict(settings, loss=inner))(logits, target), expected)
