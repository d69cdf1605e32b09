"""SADCLHead: scores, losses, prototypes and the memory bank.

Shapes: B images, C classes, D embed dims, P projection dims, S slots of the bank.
"""

import copy
import math

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mlic.models.layers.group_linear import GroupLinear
from mlic.models.losses.asymmetric_loss import StopGradAsymmetricLoss
from projects.sadcl.models.contrastive_losses import PSCLLoss, SSCLLoss
from tests import reference
from tests.helpers import ROOT, recorded

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64, sums of at most some hundred terms
TARGET = torch.tensor(
    [[1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]], dtype=torch.float32
)
LOSSES = [
    {},
    dict(loss_sscl=None),
    dict(loss_pscl=None),
    dict(loss_sscl=dict(type='SSCLLoss', anchors='official')),
    dict(loss_sscl=None, loss_pscl=None),
]


def make_head(dtype=torch.float32, **kwargs):
    """C = 5, D = 8, P = 6, S = 5, with a bank that differs from slot to slot."""
    torch.manual_seed(0)
    settings = dict(num_classes=5, in_channels=8, proj_channels=6, bank_slots=5)
    head = MODELS.build(dict(type='SADCLHead', **{**settings, **kwargs}))
    if head.projector is not None:
        head.memory_bank.normal_()
    return head.to(dtype)


def make_batch(target=TARGET, dtype=torch.float32, seed=1):
    """Features (label_embeds,) with gradient, and the data samples of a target (B, C)."""
    generator = torch.Generator().manual_seed(seed)
    embeds = 3 * torch.randn(*target.shape, 8, generator=generator).to(dtype)
    return (embeds.requires_grad_(),), make_samples(target)


def make_samples(target):
    return [DataSample().set_gt_score(row) for row in target]


def assert_every_parameter_has_a_finite_gradient(head):
    for name, parameter in head.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


# --- scores ----------------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_group_linear_equals_loops(dtype):
    torch.manual_seed(0)
    fc = GroupLinear(5, 8).to(dtype)
    embeds = torch.randn(3, 5, 8, dtype=dtype, requires_grad=True)
    inputs = [embeds, *fc.parameters()]
    actual, expected = fc(embeds), reference.group_linear(embeds, fc.weight, fc.bias)
    tolerance = EXACT if dtype == torch.float64 else dict(rtol=1e-6, atol=1e-6)  # 8 terms of 1
    assert_close(actual, expected, **tolerance)
    grads = [torch.autograd.grad(scores.square().sum(), inputs) for scores in (actual, expected)]
    assert_close(grads[0], grads[1], rtol=10 * tolerance['rtol'], atol=10 * tolerance['atol'])


def test_group_linear_starts_as_published():
    torch.manual_seed(0)
    fc = GroupLinear(80, 64)
    for values in (fc.weight, fc.bias):  # uniform in +-1/8
        assert values.abs().max() <= 1 / 8
        # the standard error of a uniform's mean square is 0.9 of it over sqrt(n)
        spread = 4 * 0.9 / math.sqrt(values.numel()) / (3 * 64)
        mean_square = values.detach().square().mean()
        assert_close(mean_square, torch.tensor(1 / (3 * 64)), rtol=0, atol=spread)


@pytest.mark.parametrize('prior_prob', [0.01, 0.5, 0.9])
def test_prior_prob_is_the_initial_probability(prior_prob):
    head = make_head(prior_prob=prior_prob)
    scores = head((torch.zeros(2, 5, 8),)).sigmoid()
    assert_close(scores, torch.full((2, 5), prior_prob))
    assert head.fc.weight.abs().max() < 5 * 0.01


@pytest.mark.parametrize(
    'name, value',
    [*(('prior_prob', p) for p in (0, 1, -0.1)), *(('prototype_momentum', m) for m in (-0.1, 1.1))],
)
def test_impossible_shares_raise(name, value):
    with pytest.raises(ValueError, match=f'{name} must lie between 0 and 1, got {value}'):
        make_head(**{name: value})


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_scores_are_float32_of_half_precision_embeds(dtype):
    head, (feats, _) = make_head(), make_batch(dtype=dtype)
    with torch.autocast('cpu', dtype):
        scores = head(feats)
    assert_close(scores, head((feats[0].float(),)), rtol=0, atol=0)


# --- losses ----------------------------------------------------------------------------------


def test_default_losses_are_those_of_the_paper():
    head = make_head(num_classes=80)
    assert isinstance(head.loss_module, StopGradAsymmetricLoss)
    assert (head.loss_module.gamma_neg, head.loss_module.gamma_pos) == (0, 0)
    assert (head.loss_module.clip, head.loss_module.eps) == (0, 1e-5)
    assert (head.loss_module.loss_weight, head.loss_module.mean_over_classes) == (1000, True)
    assert isinstance(head.loss_sscl, SSCLLoss)
    assert (head.loss_sscl.temperature, head.loss_sscl.anchors) == (0.2, 'all')
    assert (head.loss_sscl.loss_weight, head.loss_sscl.gather) == (16, True)
    assert isinstance(head.loss_pscl, PSCLLoss)
    assert (head.loss_pscl.temperature, head.loss_pscl.loss_weight) == (0.07, 50)
    assert head.bank_threshold == 0.8


@pytest.mark.parametrize('kwargs', LOSSES, ids=str)
def test_losses_and_gradients_equal_their_composition(kwargs):
    head, (feats, samples) = make_head(torch.float64, **kwargs), make_batch(dtype=torch.float64)
    (embeds,) = feats
    scores = reference.group_linear(embeds, head.fc.weight, head.fc.bias)
    elements = reference.asymmetric(scores, TARGET, 0, 0, 0, 1e-5)
    expected = dict(loss_cls=1000 / 5 * elements.sum() / 4)
    inputs = [embeds, *head.fc.parameters()]
    if head.projector is not None:
        inputs += [*head.projector.parameters(), head.prototypes]
        z = head.projector(embeds)
        remembered = head.projector(head.memory_bank[:4].clone())  # row b next to image b
        views = torch.stack([z, remembered], dim=1)  # (B, V, C, P)
        prototypes = head.projector(head.prototypes)
    if head.loss_sscl is not None:
        settings = head.loss_sscl
        loss = reference.sscl(views, TARGET, settings.temperature, settings.anchors)
        expected['loss_sscl'] = settings.loss_weight * loss
    if head.loss_pscl is not None:
        expected['loss_pscl'] = 50 * reference.pscl(z, prototypes, TARGET, 0.07)
    actual = head.loss(feats, samples)
    assert_close(actual, expected, **EXACT)
    grads = [
        torch.autograd.grad(sum(losses.values()), inputs, allow_unused=True, materialize_grads=True)
        for losses in (actual, expected)
    ]
    # Losses of some hundred, and cosines over temperature 0.07
    assert_close(*grads, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('kwargs', LOSSES, ids=str)
@pytest.mark.parametrize('contrastive', [True, False])
@pytest.mark.parametrize('target', [TARGET, TARGET * 0], ids=['labels', 'no_labels'])
def test_the_configured_losses_give_every_parameter_a_gradient(kwargs, contrastive, target):
    head, (feats, samples) = make_head(**kwargs), make_batch(target)
    head.contrastive = contrastive and head.contrastive
    losses = head.loss(feats, samples)
    names = {'loss_cls', 'loss_sscl', 'loss_pscl'}
    assert set(losses) == names - {name for name, value in kwargs.items() if value is None}
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert_every_parameter_has_a_finite_gradient(head)
    assert feats[0].grad.isfinite().all()


@pytest.mark.parametrize('contrastive', [True, False])
def test_contrastive_losses_are_zero_without_labels_or_before_their_stage(contrastive):
    head, batch = make_head(), make_batch(TARGET * float(not contrastive))
    head.contrastive = contrastive
    losses = head.loss(*batch)
    for name in ('loss_sscl', 'loss_pscl'):
        assert losses[name] == 0
        grads = torch.autograd.grad(losses[name], head.projector.parameters(), retain_graph=True)
        assert all((grad == 0).all() for grad in grads)


def test_autocast_trains_and_keeps_the_bank_float32():
    head, (feats, samples) = make_head(), make_batch()
    before = head.memory_bank.clone()
    expected = head.loss(feats, samples)
    assert not torch.equal(head.memory_bank, before)
    head.memory_bank.copy_(before)
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(tuple(x.bfloat16() for x in feats), samples)
    sum(losses.values()).backward()
    assert_every_parameter_has_a_finite_gradient(head)
    assert head.memory_bank.dtype == torch.float32
    for name, temperature, weight in (('loss_sscl', 0.2, 100), ('loss_pscl', 0.07, 50)):
        assert losses[name].dtype == torch.float32
        # two layers at 8 bits: cosines are off by a few units in the last place
        bound = weight / temperature * 4 * torch.finfo(torch.bfloat16).eps
        assert_close(losses[name], expected[name], rtol=0, atol=bound)


# --- memory bank -----------------------------------------------------------------------------


def step(head, logits, target, embeds):
    """A training step in which these are the logits, whatever the embeddings."""
    del head.fc
    head.fc = lambda label_embeds: logits + label_embeds.sum() * 0.0
    head.loss((embeds,), make_samples(target))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_bank_equals_loop(dtype):
    head = make_head(dtype)
    generator = torch.Generator().manual_seed(3)
    written = 0
    for _ in range(4):
        logits = (1.4 + torch.randn(4, 5, generator=generator)).to(dtype)
        embeds = torch.randn(4, 5, 8, generator=generator).to(dtype).requires_grad_()
        before = head.memory_bank.clone()
        expected = reference.update_memory_bank(before, embeds.detach(), logits, TARGET, 0.8)
        step(head, logits, TARGET, embeds)
        assert_close(head.memory_bank, expected, rtol=0, atol=0)
        assert_close(head.memory_bank[4], before[4], rtol=0, atol=0)  # a batch of 4, 5 slots
        written += (expected != before).any(dim=2).sum()
    assert 0 < written < 4 * TARGET.sum()
    assert not head.memory_bank.requires_grad


def test_bank_is_the_published_one():
    data = {key: torch.tensor(value) for key, value in recorded('memory_bank.npz').items()}
    head = make_head(num_classes=6, in_channels=16, bank_slots=4)
    head.set_prototypes(data['prototypes'])
    assert_close(head.memory_bank, data['bank_initial'], rtol=0, atol=0)
    # the recording has scores of exactly the threshold, and confident scores without a label
    score, target = data['step0.sigmoid_f32'], data['step0.labels']
    assert ((score == torch.tensor(0.8)) & (target > 0)).any()
    assert ((score > 0.8) & (target == 0)).any()
    for k in range(3):
        logits, target, embeds = (data[f'step{k}.{n}'] for n in ('logits', 'labels', 'embedding'))
        step(head, logits, target, embeds)
        assert_close(head.memory_bank, data[f'step{k}.bank_after'], rtol=0, atol=0)


@pytest.mark.parametrize('threshold', [0.0, 0.5, 1.0])
def test_bank_threshold(threshold):
    head, embeds = make_head(bank_threshold=threshold), torch.ones(4, 5, 8)
    logits = (torch.arange(20).reshape(4, 5) - 11) / 4  # 0 at a label: a score of exactly 0.5
    step(head, logits, TARGET, embeds)
    written = (head.memory_bank[:4] == 1).all(dim=2)
    assert torch.equal(written, (TARGET > 0) & (logits.sigmoid() > threshold))


@pytest.mark.parametrize('state, momentum', [('memory_bank', None), ('prototypes', 0.5)])
def test_bank_and_averaged_prototypes_rest_in_evaluation_and_before_their_stage(state, momentum):
    head, batch = make_head(bank_threshold=0.0, prototype_momentum=momentum), make_batch()
    before = getattr(head, state).clone()
    head.eval().loss(*batch)
    head.train().contrastive = False
    head.loss(*batch)
    assert torch.equal(getattr(head, state), before)
    head.contrastive = True
    head.loss(*batch)
    assert not torch.equal(getattr(head, state), before)


@pytest.mark.parametrize('size', [1, 3, 5])
def test_batches_up_to_the_slots_work(size):
    head, (feats, samples) = make_head(), make_batch(TARGET[:1].expand(size, 5))
    losses = head.loss(feats, samples)
    sum(losses.values()).backward()
    assert_every_parameter_has_a_finite_gradient(head)


def test_larger_batch_raises_with_both_numbers():
    batch = make_batch(TARGET[:1].expand(6, 5))
    with pytest.raises(ValueError, match='6 images.*5 slots.*bank_slots'):
        make_head().loss(*batch)
    head = make_head(loss_sscl=None)  # without pairs, the bank is not read
    assert head.loss(*batch)['loss_pscl'].isfinite()


# --- prototypes and prediction ---------------------------------------------------------------


def test_set_prototypes_fills_every_slot():
    head, prototypes = make_head(), torch.randn(5, 8)
    head.set_prototypes(prototypes)
    assert_close(head.prototypes.detach(), prototypes, rtol=0, atol=0)
    assert_close(head.memory_bank, prototypes.expand(5, 5, 8), rtol=0, atol=0)
    assert head.prototypes.requires_grad
    with pytest.raises(ValueError, match=r'\(5, 8\).*\(8, 5\)'):
        head.set_prototypes(prototypes.T)


@pytest.mark.parametrize('slots', [None, 4])
def test_bank_starts_from_the_prototypes(slots):
    torch.manual_seed(0)
    head = MODELS.build(dict(type='SADCLHead', num_classes=5, in_channels=8, bank_slots=slots))
    head.fit_row_buffers(3)
    rows = slots or 3
    assert_close(head.memory_bank, head.prototypes.detach().expand(rows, 5, 8), rtol=0, atol=0)


def test_bank_grows_with_the_batch_and_keeps_what_it_has():
    head = make_head(bank_slots=None)
    label_embeds, cls_score, target = (
        torch.randn(3, 5, 8),
        torch.full((3, 5), 9.0),
        torch.ones(3, 5),
    )
    for rows in (2, 3):
        head.other_losses(label_embeds[:rows], cls_score[:rows], target[:rows])
    assert_close(head.memory_bank, label_embeds, rtol=0, atol=0)
    head.fit_row_buffers(4)
    assert_close(head.memory_bank[:3], label_embeds, rtol=0, atol=0)
    assert_close(head.memory_bank[3], head.prototypes.detach(), rtol=0, atol=0)
    head.fit_row_buffers(2)
    assert_close(head.memory_bank, label_embeds[:2], rtol=0, atol=0)


@pytest.mark.parametrize('stored, slots, expected', [(4, None, 4), (4, 2, 2), (2, 3, 3)])
def test_a_bank_of_another_size_gives_the_rows_that_fit(stored, slots, expected):
    torch.manual_seed(0)
    source, head = make_head(bank_slots=stored), make_head(bank_slots=slots)
    source.memory_bank.normal_()
    weights = source.state_dict()
    start = head.memory_bank.clone()
    head.load_state_dict(weights)
    kept = min(stored, expected)
    assert len(head.memory_bank) == expected and len(weights['memory_bank']) == stored
    assert_close(head.memory_bank[:kept], source.memory_bank[:kept], rtol=0, atol=0)
    assert_close(head.memory_bank[kept:], start[kept:], rtol=0, atol=0)


@pytest.mark.parametrize('where', [True, False])
def test_what_a_batch_wrote_to_the_bank_is_taken_back(where):
    head = make_head(bank_threshold=0.0)
    target = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    head.other_losses(torch.randn(2, 5, 8), torch.randn(2, 5), target)
    before = head.memory_bank.clone()
    head.other_losses(torch.full((2, 5, 8), torch.nan), torch.randn(2, 5), target)
    written = head.memory_bank.clone()
    assert written.isnan().any()
    head.take_back(torch.tensor(where))
    assert_close(head.memory_bank, before if where else written, rtol=0, atol=0, equal_nan=True)
    head.contrastive = False  # a batch that writes nothing has nothing to take back
    head.other_losses(torch.randn(2, 5, 8), torch.randn(2, 5), target)
    head.take_back(torch.tensor(True))
    assert_close(head.memory_bank, before if where else written, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('momentum', [0.0, 0.9, 1.0])
def test_averaged_prototypes_equal_loop(momentum):
    head = make_head(torch.float64, prototype_momentum=momentum)
    expected = head.prototypes.clone()
    for seed in range(3):
        target = TARGET[: 4 - seed]  # class 3 is in no image, others are in one or two
        feats, samples = make_batch(target, dtype=torch.float64, seed=seed)
        sum(head.loss(feats, samples).values()).backward()
        for c in range(5):
            embeds = [row[c].detach() for row, labels in zip(feats[0], target) if labels[c]]
            if embeds:
                expected[c] = momentum * expected[c] + (1 - momentum) * sum(embeds) / len(embeds)
        assert_close(head.prototypes, expected, **EXACT)
    assert 'prototypes' not in dict(head.named_parameters())
    assert_every_parameter_has_a_finite_gradient(head)


def test_prototypes_are_averaged_in_their_own_precision():
    head, ((embeds,), samples) = make_head(prototype_momentum=0.0), make_batch(dtype=torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        head.loss((embeds,), samples)
    assert_close(head.prototypes[1], embeds[[1, 2], 1].detach().float().mean(dim=0))


def test_averaged_prototypes_load_into_trained_ones():
    head, other = make_head(prototype_momentum=0.5), make_head()
    head.prototypes.fill_(3)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.prototypes, head.prototypes)


def test_start_contrastive_renews_the_projector():
    head, batch = make_head(), make_batch()
    head.contrastive = False
    before, prototypes = copy.deepcopy(head.state_dict()), torch.randn(5, 8)
    head.start_contrastive(prototypes)
    assert head.contrastive
    assert_close(head.memory_bank, prototypes.expand(5, 5, 8), rtol=0, atol=0)
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith('fc.'), name
    assert head.loss(*batch)['loss_pscl'] > 0


def test_without_contrastive_losses_there_is_only_the_linear_layer():
    head = make_head(loss_sscl=None, loss_pscl=None)
    assert set(head.state_dict()) == {'fc.weight', 'fc.bias'}
    assert not head.contrastive


def test_prediction_needs_no_projector_prototypes_or_bank():
    head, (feats, _) = make_head().eval(), make_batch()
    expected = head.predict(feats)
    del head.projector, head.prototypes, head.memory_bank
    actual = head.predict(feats)
    scores = reference.group_linear(feats[0], head.fc.weight, head.fc.bias).sigmoid()
    for one, other, score in zip(actual, expected, scores):
        assert_close(one.pred_score, other.pred_score, rtol=0, atol=0)
        assert_close(one.pred_label, other.pred_label, rtol=0, atol=0)
        assert_close(one.pred_score, score)
        assert one.pred_label.tolist() == (score >= 0.5).nonzero().flatten().tolist()


@pytest.mark.parametrize('topk', [1, 3])
def test_topk_prediction(topk):
    head, (feats, _) = make_head(topk=topk), make_batch()
    for sample in head.predict(feats):
        expected = sample.pred_score.argsort(descending=True)[:topk]
        assert sorted(sample.pred_label.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize(
    'embeds, weights, expected',
    [
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float64, torch.float64),
    ],
)
def test_group_linear_computes_in_at_least_float32(embeds, weights, expected):
    fc = GroupLinear(3, 8).to(weights)
    assert fc(torch.randn(2, 3, 8, dtype=embeds)).dtype == expected


def test_losses_of_weight_zero_train_what_sarl_trains_and_nothing_else():
    off = dict(loss_sscl=dict(type='SSCLLoss', loss_weight=0.0))
    off |= dict(loss_pscl=dict(type='PSCLLoss', loss_weight=0.0))
    control, sarl = make_head(**off), make_head(loss_sscl=None, loss_pscl=None)
    sarl.load_state_dict(control.state_dict(), strict=False)
    gradients = []
    for head in (control, sarl):
        feats, samples = make_batch()
        sum(head.loss(feats, samples).values()).backward()
        shared = dict(sarl.named_parameters())
        own = {name: p.grad for name, p in head.named_parameters() if name in shared}
        gradients.append({'embeds': feats[0].grad, **own})
    assert_close(*gradients, rtol=0, atol=0)
    assert not any(p.grad.any() for p in control.projector.parameters())
    assert not control.prototypes.grad.any()


def test_the_control_of_two_stages_differs_by_two_weights_alone():
    name = ROOT / 'configs/sadcl/sadcl_efficientnet-lite0_corel5k160_two-stage.py'
    ours, control = (
        Config.fromfile(path).to_dict() for path in (name, f'{name.with_suffix("")}-control.py')
    )
    assert ours != control
    for loss in ('loss_sscl', 'loss_pscl'):
        assert ours['model']['head'][loss]['loss_weight'] == 1.0
        assert control['model']['head'][loss].pop('loss_weight') == 0.0
        del ours['model']['head'][loss]['loss_weight']
    assert ours == control
