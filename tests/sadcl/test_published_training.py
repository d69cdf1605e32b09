"""Five training steps of the published code, recorded, and the same five here.

Shapes: B images, C classes, D embed dims, k the side of a feature cell in pixels.
"""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.engine.schedulers.group_one_cycle_lr import GroupOneCycleLR
from projects.sadcl.published_weights import NAMES, convert_state_dict
from tests.helpers import recorded

STEPS, TOTAL_STEPS, NUM_HEADS = 5, 10, 4
MAX_LR, WEIGHT_DECAY, MOMENTUM = 1e-3, 5e-3, 2e-4  # momentum: 1 - decay 0.9998
CLS, PSCL, LR, BETA1 = 1, 3, 4, 5  # columns of the recorded history
# Values of order 1, after five steps. float64 differs by the published 1e-5 inside SSCL's logarithm
# and by the recording's float32 banks, float32 by its rounding.
CLOSE = {torch.float64: dict(rtol=1e-6, atol=2e-7), torch.float32: dict(rtol=1e-5, atol=1e-5)}
TOY = 'backbone.0.conv.'  # the recording's backbone, which is no ResNet


class ToyBackbone(nn.Module):
    """ReLU of one convolution of disjoint cells."""

    def __init__(self, embed_dims, cell):
        super().__init__()
        self.conv = nn.Conv2d(3, embed_dims, cell, stride=cell)

    def forward(self, inputs):
        return (self.conv(inputs).relu(),)


def name_of(theirs):
    """Our name of a recorded entry."""
    return theirs.replace('.0.', '.') if theirs.startswith(TOY) else NAMES.ours(theirs)


def build(data, dtype):
    """The recorded model at its start."""
    weights = {key[3:]: torch.tensor(data[key]) for key in data if key.startswith('sd.')}
    slots, num_classes, width = weights['memorybank'].shape
    hidden = len(weights['transformer.encoder.layers.0.linear1.weight'])
    neck = dict(type='SARLNeck', in_channels=width, num_classes=num_classes, embed_dims=width)
    neck.update(num_heads=NUM_HEADS, feedforward_channels=hidden, dropout=0.0)
    head = dict(type='SADCLHead', num_classes=num_classes, in_channels=width, bank_slots=slots)
    head.update(
        loss_cls=dict(type='StopGradAsymmetricLoss', loss_weight=1000 / num_classes),
        loss_sscl=dict(type='SSCLLoss', anchors='official', loss_weight=100.0),
        loss_pscl=dict(type='PSCLLoss', loss_weight=50.0),
    )
    backbone = ToyBackbone(width, weights[f'{TOY}weight'].shape[-1])
    model = ImageClassifier(backbone, MODELS.build(neck), MODELS.build(head))
    toy = {name: weights.pop(name) for name in list(weights) if name.startswith(TOY)}
    state_dict = convert_state_dict(weights)
    state_dict.update({name_of(name): weight for name, weight in toy.items()})
    model.load_state_dict(state_dict)  # nothing missing, nothing left over
    return model.to(dtype)


def train(data, dtype):
    """Five steps, in the order of the published code: what each of them shows, and the models."""
    model = build(data, dtype).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=MAX_LR, betas=(0.9, 0.999), weight_decay=WEIGHT_DECAY
    )
    schedule = GroupOneCycleLR(optimizer, pct_start=0.2, total_steps=TOTAL_STEPS, by_epoch=False)
    averages = dict(
        mmengine=ExponentialMovingAverage(model, momentum=MOMENTUM),
        published=ExponentialMovingAverage(model, momentum=MOMENTUM),
    )
    averages['published'].steps += 1  # mmengine copies at its step 0, the published code averages
    shown = dict(history=[], banks=[], gradients=[])
    for step in range(STEPS):
        images = torch.tensor(data['images'][step]).to(dtype)
        target = torch.tensor(data['labels'][step]).to(dtype)
        losses = model.loss(images, [DataSample().set_gt_score(row) for row in target])
        (group,) = optimizer.param_groups
        values = [losses[name].item() for name in ('loss_cls', 'loss_pscl')]
        shown['history'].append([*values, group['lr'], group['betas'][0]])
        shown['banks'].append(model.head.memory_bank.clone())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        shown['gradients'].append({n: p.grad.norm() for n, p in model.named_parameters()})
        optimizer.step()
        schedule.step()
        for average in averages.values():
            average.update_parameters(model)
    return dict(shown, model=model, averages=averages)


@pytest.fixture(scope='module')
def data():
    return recorded('train_step_std.npz')


@pytest.fixture(scope='module', params=[torch.float64, torch.float32], ids=str)
def run(request, data):
    return dict(train(data, request.param), dtype=request.param)


def recorded_norms(data, prefix, names):
    """{our name: norm} of the recorded float64 run, of the entries that are in ``names``."""
    norms = {name_of(key[len(prefix) :]): data[key] for key in data if key.startswith(prefix)}
    assert set(names) <= set(norms)
    return {name: torch.tensor(float(norms[name])).double() for name in names}


def comparable(run):
    """Parameters whose gradient is not zero but for rounding.

    A bias of the keys shifts all scores of a query alike: in float32, Adam makes steps of the
    size of the learning rate from the rounding. It is a third of ``in_proj_bias``.
    """
    names = [name for name, _ in run['model'].named_parameters()]
    if run['dtype'] == torch.float32:
        names = [name for name in names if not name.endswith('in_proj_bias')]
    return names


def test_losses_learning_rate_and_beta1_of_each_step(run, data):
    history = torch.tensor(run['history'], dtype=torch.float64)
    expected = torch.tensor(data['history_f64'])
    losses, schedule = [CLS, PSCL], [LR, BETA1]
    assert_close(history[:, :2], expected[:, losses], **CLOSE[run['dtype']])
    assert_close(history[:, 2:], expected[:, schedule], rtol=1e-12, atol=0)


def test_memory_bank_after_each_step(run, data):
    start = torch.tensor(data['sd.memorybank']).double()
    for step, bank in enumerate(run['banks']):
        expected = torch.tensor(data[f'bank_after_step{step}_f64']).double()
        assert_close(bank.double(), expected, **CLOSE[run['dtype']])
        unchanged = (expected == start).all(dim=2)  # the same slots are written
        assert torch.equal((bank.double() == start).all(dim=2), unchanged)
    assert not unchanged.all()


def test_gradients_of_the_first_step(run, data):
    names = comparable(run)
    expected = recorded_norms(data, 'step0.gradnorm_f64.', names)
    actual = {name: run['gradients'][0][name].double() for name in names}
    assert_close(actual, expected, **CLOSE[run['dtype']])


def test_parameters_after_five_steps(run, data):
    parameters = dict(run['model'].named_parameters())
    actual = {name: parameters[name].detach().norm().double() for name in comparable(run)}
    expected = recorded_norms(data, 'final_norm_f64.', actual)
    assert_close(actual, expected, rtol=1e-4, atol=0)


def test_scores_after_five_steps(run, data):
    images = torch.tensor(data['images'][0]).to(run['dtype'])
    models = dict(final_eval=run['model'], final_ema_eval=run['averages']['published'].module)
    for name, model in models.items():
        with torch.no_grad():
            logits = copy.deepcopy(model).eval()(images)
        expected = torch.tensor(data[f'{name}_logits_f64'])
        assert_close(logits.double(), expected, **CLOSE[run['dtype']])


def test_averaged_parameters_after_five_steps(run, data):
    averages = run['averages']['published'].avg_parameters
    actual = {name: averages[name].norm().double() for name in comparable(run)}
    assert_close(actual, recorded_norms(data, 'ema_norm_f64.', actual), rtol=1e-4, atol=0)


def test_mmengine_averages_from_the_result_of_the_first_step(run):
    """The published average starts from the initial weights. Adam's first step moves a weight w by
    at most lr * (1 + weight_decay * |w|): the two averages differ by this at most, and by
    0.9998 of it after each further step.
    """
    averages = run['averages']
    eps = torch.finfo(run['dtype']).eps
    for name, published in averages['published'].avg_parameters.items():
        largest = published.abs().max().item()
        bound = MAX_LR / 25 * (1 + WEIGHT_DECAY * largest) * (1 - MOMENTUM) ** (STEPS - 1)
        rounding = 4 * STEPS * eps * largest
        actual = averages['mmengine'].avg_parameters[name]
        assert_close(actual, published, rtol=0, atol=bound + rounding)
        assert not torch.equal(actual, published), name
