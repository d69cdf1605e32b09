"""Contrast of whole images against loops over its formula. N rows, C classes."""

import math

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from projects.mulcon import image_supcon_loss
from tests import reference

EXACT = dict(rtol=1e-9, atol=1e-12)
TARGET = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1]])


def make_z(rows=5, dtype=torch.float64):
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(0)).to(dtype)


def by_loops(z, target, temperature):
    """The formula, one pair at a time."""
    unit = [row / row.norm() for row in z]
    s = [[float(a @ b) / temperature for b in unit] for a in unit]
    total, anchors = 0.0, 0
    for n, c in target.nonzero().tolist():
        anchors += 1
        partners = [m for m in range(len(z)) if m != n and target[m, c]]
        denominator = sum(math.exp(s[n][a]) for a in range(len(z)) if a != n)
        for p in partners:
            total -= (s[n][p] - math.log(denominator)) / len(partners)
    return total / max(anchors, 1)


@pytest.mark.parametrize('temperature', [0.1, 0.2, 1.0])
def test_loss_equals_loops(temperature):
    loss = image_supcon_loss(make_z(), TARGET, temperature)
    expected = torch.tensor(by_loops(make_z(), TARGET, temperature), dtype=torch.float64)
    assert_close(loss, expected, **EXACT)


def test_loss_of_images_with_one_label_each_is_that_of_label_embeddings():
    target = torch.eye(3)[[0, 1, 0, 2, 1]]
    features = make_z()[:, None, None].expand(5, 1, 3, 6)  # (B, V, C, P)
    assert_close(
        image_supcon_loss(make_z(), target), reference.sscl(features, target, 0.2), **EXACT
    )


def test_order_of_images_and_classes_does_not_matter():
    rows, classes = torch.randperm(5), torch.randperm(4)
    shuffled = image_supcon_loss(make_z()[rows], TARGET[rows][:, classes])
    assert_close(shuffled, image_supcon_loss(make_z(), TARGET), **EXACT)


@pytest.mark.parametrize(
    'target',
    [torch.zeros(5, 4), torch.eye(5), torch.ones(1, 4), torch.full((5, 4), torch.nan)],
    ids=['no label', 'no partner', 'one image', 'nothing known'],
)
def test_loss_without_partners_is_zero_with_a_graph(target):
    z = make_z(len(target)).requires_grad_()
    loss = image_supcon_loss(z, target)
    (grad,) = torch.autograd.grad(loss, z)
    assert loss == 0 and not grad.any()


@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_is_raised(autocast):
    z = make_z(dtype=torch.float16)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        loss = image_supcon_loss(z, TARGET)
    assert_close(loss, image_supcon_loss(z.float(), TARGET))


def make_head(**kwargs):
    torch.manual_seed(0)
    settings = dict(type='ImageContrastHead', num_classes=4, in_channels=8, proj_channels=6)
    return MODELS.build({**settings, **kwargs})


def test_head_adds_the_contrast_to_the_linear_classifier():
    head = make_head(loss_con=dict(type='ImageSupConLoss', loss_weight=0.5, temperature=0.3))
    pooled = torch.randn(5, 8)
    losses = head.loss((pooled,), [DataSample().set_gt_score(row.float()) for row in TARGET])
    z = head.projector(pooled)
    assert_close(losses['loss_con'], 0.5 * image_supcon_loss(z, TARGET, 0.3))
    logits = head.fc(pooled)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = cross_entropy(logits, TARGET.float(), reduction='sum') / 5
    assert_close(losses['loss_cls'], expected)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


@pytest.mark.parametrize(
    ('dtype', 'of_losses'),
    [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
    ids=str,
)
def test_a_head_of_other_weights_trains(dtype, of_losses):
    head, pooled = make_head().to(dtype), torch.randn(5, 8, dtype=dtype)
    losses = head.loss((pooled,), [DataSample().set_gt_score(row.float()) for row in TARGET])
    assert {loss.dtype for loss in losses.values()} == {of_losses}


def test_autocast_rounds_no_logits():
    with torch.autocast('cpu', torch.bfloat16):
        logits = make_head()((torch.randn(5, 8, dtype=torch.bfloat16),))
    assert logits.dtype == torch.float32
