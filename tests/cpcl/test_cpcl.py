"""CPCLHead against loops and recordings. B images, C classes, K channels, E width of a vector."""

import re

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from projects.cpcl.cpcl_head import CPCLHead
from projects.cpcl.margin_loss import MarginLoss
from projects.cpcl.published_weights import CPCL, NAMES
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
CASE = re.compile(r'(eval|train)\.loss\.margin(.+)\.f64')
TRIPLET = re.compile(r'(eval|train)\.loss\.triplet_margin(.+)\.f64')


def recorded_head():
    recording = PeerRecording('cpcl')
    return recording.head_of(CPCL), recording


def total(losses):
    return losses['loss_cls'] + losses['loss_triplet']


def recorded_names(head):
    return {NAMES.theirs(f'head.{name}'): p for name, p in head.named_parameters()}


def by_loops(head, feature_map, target, margin):
    """Logits (B, C) and the loss, an image and a class at a time."""
    graph, vectors = head.graph.matrix, head.vectors.vectors
    hidden = torch.stack([vector @ head.gc1.weight for vector in vectors])
    hidden = torch.stack([sum(g * row for g, row in zip(edges, hidden)) for edges in graph])
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    prototypes = torch.stack([row @ head.gc2.weight for row in hidden])
    prototypes = [sum(g * row for g, row in zip(edges, prototypes)) for edges in graph]
    rows, loss = [], 0.0
    for image, labels in zip(feature_map, target):
        pooled, row = torch.stack([channel.max() for channel in image]), []
        for vector, prototype, label in zip(vectors, prototypes, labels):
            joint = (head.feature.weight @ pooled) * (head.label.weight @ vector)
            embed = head.joint.weight @ joint.tanh() + head.joint.bias
            pair = torch.cat([embed * prototype, prototype])
            decoupling, coupling = (
                sum((embed - layer.weight @ pair - layer.bias) ** 2) ** 0.5
                for layer in (head.decoupling, head.coupling)
            )
            score = decoupling - coupling
            if label:
                term = max(coupling - decoupling + margin, 0) - score.sigmoid().log()
            else:
                term = max(decoupling - coupling + margin, 0) - (-score).sigmoid().log()
            loss = loss + term / target.numel()
            row.append(score)
        rows.append(torch.stack(row))
    return torch.stack(rows), loss


@pytest.mark.parametrize('margin', [0.05, 2.0])
def test_head_equals_loops(margin):
    torch.manual_seed(0)
    sizes = dict(hidden_channels=5, embed_dims=4, vectors=dict(dims=3))
    loss = dict(type='MarginLoss', margin=margin)
    head = CPCLHead(3, 4, loss_triplet=loss, **sizes).double()
    head.graph.matrix.copy_(torch.rand(3, 3))
    feature_map, target = torch.randn(2, 4, 3, 3).double(), torch.tensor([[1, 0, 1], [0, 0, 1]])
    scores, expected = by_loops(head, feature_map, target, margin)
    assert_close(head((feature_map,)), scores, **EXACT)
    samples = [DataSample().set_gt_score(row) for row in target.double()]
    found = total(head.loss((feature_map,), samples))
    assert_close(found, expected, **EXACT)
    parameters = list(head.parameters())
    gradients = torch.autograd.grad(found, parameters)
    assert_close(gradients, torch.autograd.grad(expected, parameters), **EXACT)


def test_scores_losses_and_gradients_are_those_of_the_released_code():
    head, recording = recorded_head()
    feature = recording.double('feature').requires_grad_()
    distances = head.distances(head.pooled((feature,)), head.class_part())
    for name, distance in zip(('decoupling', 'coupling'), distances):
        recording.check(distance, f'train.{name}_distance.f64')
    recording.check(head((feature,)), 'train.score.f64')
    loss = total(head.loss((feature,), recording.samples()))
    recording.check(loss, 'train.loss.total.f64')
    loss.backward()
    gradients = {name: p.grad for name, p in recorded_names(head).items()}
    recording.check_gradients({**gradients, 'in.feature': feature.grad})
    recording.check(head.eval()((feature,)), 'eval.score.f64')
    recording.check(head.float()((recording['feature'],)), 'eval.score.f32')


def test_losses_of_every_margin_are_those_of_the_released_code():
    keys = list(PeerRecording('cpcl').file)
    cases = [match for key in keys for match in (CASE.fullmatch(key), TRIPLET.fullmatch(key))]
    cases = [match for match in cases if match]
    assert cases
    head, recording = recorded_head()
    for match in cases:
        head.loss_triplet.margin = float(match[2])
        losses = head.loss((recording.double('feature'),), recording.samples())
        only = losses['loss_triplet'] if match.re is TRIPLET else total(losses)
        recording.check(only, match[0])


def test_three_steps_are_those_of_the_released_code():
    head, recording = recorded_head()
    sgd = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    feature, samples = recording.double('feature'), recording.samples()
    recording.check_steps(
        sgd, lambda: total(head.loss((feature,), samples)), recorded_names(head), max_norm=10
    )
    recording.check(head((feature,)), 'steps.eval.score')


def test_the_margin_is_that_of_two_distances():
    decoupling, coupling = torch.rand(2, 4, 5).double() * 3
    target = (torch.rand(4, 5) < 0.4).double()
    expected = 0.0
    for b in range(4):
        for c in range(5):
            near, far = (coupling, decoupling) if target[b, c] else (decoupling, coupling)
            expected += max(near[b, c] - far[b, c] + 1.5, 0) / 20
    loss = MarginLoss(margin=1.5, loss_weight=2.0)
    assert_close(loss(decoupling - coupling, target), 2 * expected, **EXACT)
    assert_close(MarginLoss()(torch.tensor([[-2.5]]), torch.tensor([[0]])), torch.tensor(0.0))
