"""StopGradAsymmetricLoss against loops, the recordings of SADCL's code, and mmpretrain."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.losses import AsymmetricLoss
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mlic.models.losses.asymmetric_loss import StopGradAsymmetricLoss
from mlic.models.losses.known_labels import loss_of_known
from tests import reference
from tests.helpers import recorded

SETTINGS = [
    dict(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip)
    for gamma_neg, gamma_pos, clip in ((0, 0, 0), (4, 0, 0), (2, 1, 0), (4, 1, 0.05), (0, 0, 0.05))
]
BOTH = (StopGradAsymmetricLoss, AsymmetricLoss)
# exp, log and two sums: about 100 units in the last place of the largest term
EXACT = {torch.float64: dict(rtol=1e-9, atol=1e-12), torch.float32: dict(rtol=1e-5, atol=1e-5)}


def make_case(seed=0, dtype=torch.float64, shape=(5, 7)):
    """Logits (B, C) with gradient, and a multi-hot target."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=generator).to(dtype)
    target = (torch.rand(shape, generator=generator) < 0.4).float()
    return logits.requires_grad_(), target


def value_and_grad(loss, logits):
    return [loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]]


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equals_loops(settings, dtype):
    for seed in range(3):
        logits, target = make_case(seed, dtype)
        module = StopGradAsymmetricLoss(**settings, reduction='none', eps=0.01)
        elements = reference.asymmetric(logits, target, **settings, eps=0.01)
        actual = value_and_grad(module(logits, target), logits)
        assert_close(actual, value_and_grad(elements, logits), **EXACT[dtype])


@pytest.mark.parametrize('shape', ['normal', 'tiny', 'extreme'])
@pytest.mark.parametrize(
    ('gamma_neg', 'gamma_pos', 'clip'), [(0, 0, 0), (4, 0, 0), (4, 1, 0.05), (2, 0, 0)]
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equals_published(shape, gamma_neg, gamma_pos, clip, dtype):
    data = recorded('asl.npz')
    name = f'{shape}.gn{gamma_neg}_gp{gamma_pos}_clip{clip}_stopgrad.'
    expected = [torch.tensor(data[f'{name}{what}_f64']) for what in ('loss', 'grad')]
    logits = torch.tensor(data[f'{shape}.logits'], dtype=dtype, requires_grad=True)
    target = torch.tensor(data[f'{shape}.labels'])
    module = StopGradAsymmetricLoss(
        gamma_neg=gamma_neg,
        gamma_pos=gamma_pos,
        clip=clip,
        loss_weight=1000 / target.shape[1],
    )
    actual = [x.double() for x in value_and_grad(module(logits, target), logits)]
    if dtype == torch.float64:
        assert_close(actual, expected, **EXACT[dtype])
    else:  # at float32, 1 - p_t near 0 is rounded to a multiple of 6e-8: absolute, not relative
        assert_close(actual, expected, rtol=1e-5, atol=1e-5 * expected[0].item())


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_the_mean_over_classes_is_the_sum_over_their_number(reduction):
    logits, target = make_case()
    settings = dict(gamma_neg=4, reduction=reduction)
    summed = StopGradAsymmetricLoss(**settings, loss_weight=1000 / target.shape[1])
    mean = StopGradAsymmetricLoss(**settings, mean_over_classes=True, loss_weight=1000)
    assert target.shape[1] > 1
    assert_close(mean(logits, target), summed(logits, target), **EXACT[torch.float64])


def test_the_mean_over_classes_counts_unknown_labels_as_classes():
    logits, target = make_case()
    target[0, 0] = torch.nan
    mean = StopGradAsymmetricLoss(mean_over_classes=True)
    expected = loss_of_known(StopGradAsymmetricLoss(), logits, target) / target.shape[1]
    assert_close(loss_of_known(mean, logits, target), expected, **EXACT[torch.float64])


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_values_are_mmpretrains_and_gradients_too_without_a_focus(settings):
    logits, target = make_case()
    losses = [loss(**settings, reduction='sum', eps=1e-8) for loss in BOTH]
    values, grads = zip(*(value_and_grad(loss(logits, target), logits) for loss in losses))
    assert_close(*values, **EXACT[torch.float64])
    assert torch.allclose(*grads) == (settings['gamma_neg'] == 0)
    if settings['gamma_pos'] == 0:
        assert_close(grads[0][target > 0], grads[1][target > 0], **EXACT[torch.float64])


@pytest.mark.parametrize('gamma', [1, 2, 4])
def test_a_stopped_gradient_is_smaller_by_one_plus_gamma_where_the_answer_is_right(gamma):
    logits = torch.tensor([[-12.0, 2.0]], dtype=torch.float64, requires_grad=True)
    settings = dict(gamma_neg=gamma, gamma_pos=0, clip=0, reduction='sum', eps=1e-12)
    stopped, full = (
        value_and_grad(loss(**settings)(logits, torch.zeros(1, 2)), logits)[1] for loss in BOTH
    )
    ratios = (full / stopped)[0].tolist()
    assert ratios[0] == pytest.approx(1 + gamma, rel=1e-4)
    assert 1 < ratios[1] < 0.75 * (1 + gamma)  # a wrong answer


def test_default_is_binary_cross_entropy_summed_over_classes():
    logits, target = make_case()
    summed = F.binary_cross_entropy_with_logits(logits, target.double(), reduction='sum')
    loss = MODELS.build(dict(type='StopGradAsymmetricLoss', loss_weight=3.0))(logits, target)
    assert_close(loss, 3.0 * summed / len(logits), **EXACT[torch.float64])


def test_reductions_and_weights():
    logits, target = make_case()
    elements = StopGradAsymmetricLoss(reduction='none')(logits, target)
    assert elements.shape == logits.shape
    total = elements.sum()
    module = StopGradAsymmetricLoss()
    assert_close(module(logits, target), total / 5)
    assert_close(module(logits, target, avg_factor=8), total / 8)
    assert_close(module(logits, target, reduction_override='sum'), total)
    assert_close(module(logits, target, reduction_override='none'), elements)
    assert_close(StopGradAsymmetricLoss(reduction='sum')(logits, target), total)
    weight = torch.tensor([0, 1, 2, 0.5, 0])
    expected = sum(w * row.sum() for w, row in zip(weight, elements)) / 5
    assert_close(module(logits, target, weight=weight), expected)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_saturated_logits_are_finite(settings):
    logits = torch.tensor([[-1e4, -100.0, 100.0, 1e4]] * 2, requires_grad=True)
    target = torch.tensor([[1.0] * 4, [0.0] * 4])
    module = StopGradAsymmetricLoss(**settings, reduction='none')
    loss, grad = value_and_grad(module(logits, target), logits)
    assert loss.isfinite().all()
    assert grad.isfinite().all()
    # a hopelessly wrong positive costs the floor of the logarithm, and has no gradient there
    assert_close(loss[0, :2], torch.full((2,), -np.log(1e-5), dtype=torch.float32))
    assert_close(grad[0, :2], torch.zeros(2), rtol=0, atol=0)


def test_confident_errors_are_exact_in_float32():
    """1 - sigmoid(10) has three digits in float32, sigmoid(-10) has seven."""
    logits = torch.linspace(5, 11, 13)[None]
    module = StopGradAsymmetricLoss(reduction='none')
    assert_close(module(logits, torch.zeros_like(logits)), F.softplus(logits))
    assert_close(module(-logits, torch.ones_like(logits)), F.softplus(logits))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32(dtype):
    logits, target = make_case(dtype=dtype)
    module = StopGradAsymmetricLoss(gamma_neg=4, gamma_pos=1, clip=0.05)
    loss = module(logits, target)
    assert loss.dtype == torch.float32
    assert_close(loss, module(logits.float(), target), rtol=0, atol=0)
    assert value_and_grad(loss, logits)[1].isfinite().all()


@pytest.mark.parametrize('dtype', [torch.bool, torch.int64, torch.float64])
def test_dtype_of_the_target_is_irrelevant(dtype):
    logits, target = make_case(dtype=torch.float32)
    module = StopGradAsymmetricLoss(gamma_neg=4, gamma_pos=1)
    loss = module(logits, target.to(dtype))
    assert_close(loss, module(logits, target), rtol=0, atol=0)


def test_different_shapes_raise_with_both():
    logits, target = make_case()
    with pytest.raises(ValueError, match=r'\(5, 7\).*\(7, 5\)'):
        StopGradAsymmetricLoss()(logits, target.T)


@pytest.mark.parametrize(
    'wrong', [dict(gamma_neg=-1.0), dict(gamma_pos=float('nan')), dict(clip=-0.1), dict(clip=1.0)]
)
def test_a_focus_below_0_and_a_margin_of_1_are_refused(wrong):
    with pytest.raises(ValueError, match='must not be negative, and clip must be from 0'):
        StopGradAsymmetricLoss(**wrong)
