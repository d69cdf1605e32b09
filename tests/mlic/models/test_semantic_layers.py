"""Semantic attention and the gated graph, shared by several methods, against loops and recordings.

B images, C classes, N cells, K channels, E width of a vector, D hidden width.
"""

import pytest
import torch
from torch.testing import assert_close

from mlic.models.layers.gated_graph import GatedGraph
from mlic.models.layers.semantic_attention import SemanticAttention
from tests.peer_recordings import PeerRecording
from tests.semantic_loops import attend_by_loops, spread_by_loops

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
HCP_ATTENTION = {'fc1': 'cell', 'fc2': 'label', 'fc3': 'hidden', 'fc4': 'score'}
HCP_GRAPH = {
    f'fc_{n}_{side}': f'{name}_{side}'
    for n, name in enumerate(('update', 'reset', 'new'), 1)
    for side in 'wu'
}


@pytest.mark.parametrize('classes_at_once', [1, 2, 9])
def test_attention_equals_loops(classes_at_once):
    torch.manual_seed(0)
    layer = SemanticAttention(3, 2, 4, classes_at_once).double()
    cells, vectors = torch.randn(2, 5, 3).double(), torch.randn(3, 2).double()
    for found, expected in zip(layer(cells, vectors), attend_by_loops(layer, cells, vectors)):
        assert_close(found.detach(), expected, **EXACT)


def test_few_classes_at_once_have_the_gradients_of_all():
    torch.manual_seed(0)
    layer = SemanticAttention(6, 4, 8).double()
    cells = torch.randn(2, 9, 6).double().requires_grad_()
    vectors = torch.randn(7, 4).double().requires_grad_()
    tensors = [*layer.parameters(), cells, vectors]
    gradients = []
    for layer.classes_at_once in (7, 3, 1):
        features, weights = layer(cells, vectors)
        total = (features**2).sum() + (weights**3).sum()
        gradients.append(torch.autograd.grad(total, tensors))
    for others in gradients[1:]:
        for first, other in zip(gradients[0], others):
            assert_close(other, first, **EXACT)


def test_training_keeps_no_hidden_value_of_a_class():
    """What the way back needs is of single cells and single classes, not of their pairs."""
    layer = SemanticAttention(6, 4, 50, classes_at_once=2)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    cells, vectors = torch.randn(2, 9, 6), torch.randn(7, 4)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(cells, vectors)
    assert max(kept) == 50 * 50  # a weight; the pairs would be 2 * 7 * 9 * 50 = 6300


def test_attention_computes_in_bfloat16():
    torch.manual_seed(0)
    layer, cells, vectors = SemanticAttention(8, 4, 16), torch.randn(2, 9, 8), torch.randn(7, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        features, weights = layer(cells, vectors)
        features.sum().backward()
    assert_close(weights.float().sum(-1), torch.ones(2, 7), rtol=0, atol=1e-2)
    assert_close(features.float(), layer(cells, vectors)[0], rtol=5e-2, atol=5e-2)
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize('both_ways', [False, True])
@pytest.mark.parametrize('shared_gate', [False, True])
def test_gated_graph_equals_loops(shared_gate, both_ways):
    torch.manual_seed(0)
    layer = GatedGraph(3, 2, shared_gate, both_ways).double()
    nodes, graph = torch.randn(2, 4, 3).double(), torch.rand(4, 4).double()
    with torch.no_grad():
        assert_close(layer(nodes, graph), spread_by_loops(layer, nodes, graph), **EXACT)


def test_each_image_may_have_a_graph_of_its_own():
    torch.manual_seed(0)
    layer, nodes, graphs = (
        GatedGraph(3).double(),
        torch.randn(2, 4, 3).double(),
        torch.rand(2, 4, 4),
    )
    single = [layer(node[None], graph.double()) for node, graph in zip(nodes, graphs)]
    assert_close(layer(nodes, graphs), torch.cat(single), **EXACT)


def test_gated_graph_computes_in_bfloat16():
    torch.manual_seed(0)
    layer, nodes, graph = GatedGraph(6), torch.randn(2, 4, 6), torch.rand(4, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = layer(nodes, graph)
        found.sum().backward()
    assert_close(found.float(), layer(nodes, graph), rtol=5e-2, atol=5e-2)
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_a_shared_gate_has_no_weights_that_are_not_used():
    own, shared = (
        sum(p.numel() for p in GatedGraph(5, shared_gate=flag).parameters())
        for flag in (False, True)
    )
    assert own - shared == 5 * 5 + 5


def test_layers_are_those_of_another_method_of_the_same_laboratory():
    """HCP's SST, in whose code each gate has its own weights; its graph is float32."""
    recording = PeerRecording('hcp_sst', rtol=1e-7, gradient_rtol=1e-5)
    weights = recording.weights()
    cells = recording.double('feature').flatten(2).mT
    vectors = weights['wordFeatures']
    hidden, channels = weights['SemanticDecoupling.fc1.weight'].shape
    attention = SemanticAttention(channels, vectors.shape[1], hidden).double()
    graph_net = GatedGraph(channels, num_steps=3).double()
    for layer, prefix, names in (
        (attention, 'SemanticDecoupling', HCP_ATTENTION),
        (graph_net, 'GraphNeuralNetwork', HCP_GRAPH),
    ):
        layer.load_state_dict(
            {
                f'{ours}.{kind}': weights[f'{prefix}.{theirs}.{kind}']
                for theirs, ours in names.items()
                for kind in ('weight', 'bias')
                if f'{prefix}.{theirs}.{kind}' in weights
            }
        )
    features, _ = attention(cells, vectors)
    recording.check(features, 'eval.semantic.f64')
    nodes = graph_net(features, weights['inMatrix'])
    both = torch.cat([nodes, features], dim=-1)
    embeds = (both @ weights['fc.weight'].T + weights['fc.bias']).tanh()
    scores = (embeds * weights['classifiers.weight']).sum(-1) + weights['classifiers.bias']
    recording.check(scores, 'eval.score.f64')


def test_nothing_at_once_is_refused():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        SemanticAttention(3, 2, classes_at_once=0)
