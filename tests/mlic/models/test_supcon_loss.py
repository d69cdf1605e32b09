"""Supervised contrast: the loops of tests/reference.py, and which vectors are anchors."""

import sys

import pytest
import torch
from torch.testing import assert_close

from mlic.models.losses.supcon_loss import SupConLoss, supcon_loss
from tests import reference
from tests.helpers import ROOT, run_command

TARGET = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1.0]])
IMAGE, LABEL = TARGET.nonzero(as_tuple=True)  # K = 6


def make_features(views, dtype=torch.float64):
    """(B, V, C, P) with gradient."""
    generator = torch.Generator().manual_seed(views)
    return torch.randn(3, views, 4, 5, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize('views', [1, 2, 3])
def test_value_and_gradient_are_those_of_the_loops(views):
    features = make_features(views)
    loss = supcon_loss(features[IMAGE, :, LABEL].transpose(0, 1), LABEL, 0.3)
    expected = reference.sscl(features, TARGET, 0.3)
    assert_close(loss, expected)
    assert_close(*(torch.autograd.grad(value, features)[0] for value in (loss, expected)))


def test_the_terms_of_some_anchors_and_of_the_others_add_up():
    z = make_features(2)[IMAGE, :, LABEL].transpose(0, 1)
    chosen = torch.rand(2, len(LABEL), generator=torch.Generator().manual_seed(0)) < 0.5
    parts = [supcon_loss(z, LABEL, anchors=anchors) for anchors in (chosen, ~chosen)]
    assert min(parts) > 0
    assert_close(sum(parts), supcon_loss(z, LABEL))


def test_half_precision_is_raised_and_the_module_weighs():
    z = make_features(2, torch.bfloat16)[IMAGE, :, LABEL].transpose(0, 1)
    expected = supcon_loss(z.float(), LABEL, 0.1)
    assert_close(supcon_loss(z, LABEL, 0.1), expected)
    module = SupConLoss(temperature=0.1, loss_weight=3.0)
    assert_close(module(z, TARGET, IMAGE, LABEL), 3 * expected)


@pytest.mark.slow
def test_mulcon_and_ml_decoder_do_without_sadcl():
    code = (
        'import sys, projects.mulcon, projects.ml_decoder\n'
        'from mmpretrain.registry import MODELS\n'
        "print(type(MODELS.build(dict(type='MulConHead', num_classes=3)).loss_con).__name__)\n"
        "assert not [name for name in sys.modules if name.startswith('projects.sadcl')]\n"
    )
    printed = run_command(sys.executable, '-W', 'ignore', '-c', code, cwd=ROOT)
    assert printed.splitlines()[-1] == 'SupConLoss'
