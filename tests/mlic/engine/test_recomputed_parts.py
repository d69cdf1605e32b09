"""Gradient checkpointing of parts of a model; the backbones' own tests are test_foundation.py."""

import copy

import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from mmpretrain.models import ResNet
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.testing import assert_close

from mlic.engine.runner.recomputed_parts import recompute_parts


class Doubled(nn.Linear):
    """Counts its calls, and takes a keyword."""

    calls = 0

    def forward(self, inputs, *, factor=2.0):
        self.calls += 1
        return super().forward(inputs) * factor


def make_model():
    torch.manual_seed(0)
    layers = nn.ModuleList([Doubled(3, 3), Doubled(3, 3)])
    return nn.ModuleDict(dict(stem=nn.Linear(3, 3).requires_grad_(False), layers=layers))


def run(model, **options):
    feats = model.stem(torch.ones(2, 3))
    for layer in model.layers:
        feats = layer(feats, **options)
    return feats


def test_parts_run_twice_in_training_and_once_without_a_gradient():
    model = make_model()
    recompute_parts(model, ['layers'])
    run(model, factor=3.0).sum().backward()
    assert [layer.calls for layer in model.layers] == [2, 2]
    with torch.no_grad():
        run(model)
    assert [layer.calls for layer in model.layers] == [3, 3]
    plain = make_model()
    run(plain, factor=3.0).sum().backward()
    for ours, theirs in zip(model.parameters(), plain.parameters()):
        assert_close(ours.grad, theirs.grad, rtol=0, atol=0)


@pytest.mark.filterwarnings(
    'ignore:.*use_reentrant', 'ignore:None of the inputs have requires_grad'
)
def test_the_first_layer_after_a_frozen_stem_gets_a_gradient():
    """With mmengine's own it gets none, if torch's default is the reentrant form."""
    model, theirs = make_model(), make_model()
    recompute_parts(model, 'layers.0')
    run(model).sum().backward()
    assert model.layers[0].weight.grad.abs().max() > 0
    turn_on_activation_checkpointing(theirs, 'layers.0')
    run(theirs).sum().backward()
    assert theirs.layers[0].weight.grad is None


def test_a_copy_is_not_recomputed_and_has_its_own_weights():
    model = make_model()
    recompute_parts(model, 'layers')
    average = copy.deepcopy(model)
    nn.init.zeros_(average.layers[1].weight)
    nn.init.zeros_(average.layers[1].bias)
    assert not run(average).any()
    assert [layer.calls for layer in average.layers] == [1, 1]
    assert run(model).all()
    assert model.state_dict().keys() == make_model().state_dict().keys()


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"activation_checkpointing names 'blocks.0', and Module"):
        recompute_parts(make_model(), ['layers', 'blocks.0'])


@pytest.mark.parametrize('momentum', [0.1, None])
def test_batch_norms_count_each_batch_once(momentum):
    torch.manual_seed(0)
    plain = ResNet(18, norm_cfg=dict(type='BN', momentum=momentum))
    plain.train()  # returns nothing
    ours = copy.deepcopy(plain)
    recompute_parts(ours, ['layer3', 'layer4'])
    for batch in torch.rand(2, 2, 3, 64, 64):
        for model in (plain, ours):
            model(batch)[-1].sum().backward()
    assert_close(ours.state_dict(), plain.state_dict(), rtol=0, atol=0)
    for mine, theirs in zip(ours.parameters(), plain.parameters()):
        assert_close(mine.grad, theirs.grad, rtol=0, atol=0)
    assert {norm.momentum for norm in ours.modules() if isinstance(norm, _NormBase)} == {momentum}
