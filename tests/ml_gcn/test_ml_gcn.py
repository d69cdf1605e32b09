"""MLGCNHead against loops and recordings. B images, C classes, K channels, E width of a vector."""

import pytest
import torch
from torch.testing import assert_close

from projects.ml_gcn.ml_gcn_head import MLGCNHead
from projects.ml_gcn.published_weights import ML_GCN
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64


def recorded_head():
    recording = PeerRecording('ml_gcn')
    return recording.head_of(ML_GCN), recording


def by_loops(head, feature_map, size):
    """Logits (B, C), one number at a time."""
    graph, vectors = head.graph.matrix, head.vectors.vectors
    num_classes = len(vectors)

    def layer(nodes, weight):
        mixed = [
            [sum(node[e] * weight[e, k] for e in range(len(node))) for k in range(weight.shape[1])]
            for node in nodes
        ]
        return [
            [sum(graph[i, j] * mixed[j][k] for j in range(num_classes)) for k in range(len(row))]
            for i, row in enumerate(mixed)
        ]

    hidden = [[max(x, 0.2 * x) for x in row] for row in layer(vectors, head.gc1.weight)]
    classifiers = layer(hidden, head.gc2.weight)
    rows = []
    for image in feature_map:
        pooled = [channel[:size, :size].max() for channel in image]
        rows.append([sum(w * f for w, f in zip(row, pooled)) for row in classifiers])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize('size', [None, 2])
def test_head_equals_loops(size):
    torch.manual_seed(0)
    head = MLGCNHead(3, 4, hidden_channels=2, vectors=dict(dims=3), pool_size=size).double()
    head.graph.matrix.copy_(torch.rand(3, 3))
    feature_map = torch.randn(2, 4, 3, 3).double()
    with torch.no_grad():
        assert_close(head((feature_map,)), by_loops(head, feature_map, size), **EXACT)


def test_the_graph_is_the_one_that_is_asked_for():
    assert MLGCNHead(3, 4, vectors=dict(dims=3)).graph.kind == 'reweighted'
    graph = MLGCNHead(3, 4, vectors=dict(dims=3), graph=dict(kind='conditional')).graph
    assert graph.kind == 'conditional'


def test_scores_losses_and_gradients_are_those_of_the_released_code():
    head, recording = recorded_head()
    feature = recording.double('feature').requires_grad_()
    recording.check(head((feature,)), 'train.score.f64')
    loss = head.loss((feature,), recording.samples())['loss_cls']
    recording.check(loss, 'train.loss.total.f64')
    loss.backward()
    found = {name: p.grad for name, p in head.named_parameters()}
    recording.check_gradients({**found, 'in.feature': feature.grad})
    recording.check(head.float().eval()((recording['feature'],)), 'eval.score.f32')


def test_three_steps_are_those_of_the_released_code():
    head, recording = recorded_head()
    sgd = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    feature, samples = recording.double('feature'), recording.samples()
    recording.check_steps(
        sgd,
        lambda: head.loss((feature,), samples)['loss_cls'],
        dict(head.named_parameters()),
        max_norm=10,
    )
    recording.check(head((feature,)), 'steps.eval.score')
