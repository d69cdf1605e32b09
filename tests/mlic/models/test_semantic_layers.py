"""Semantic attention and the gated graph, shared by several methods, against loops and recordings.

B images, C classes, N cells, K channels, E width of a vector, D hidden width.
"""

import math

import pytest
import torch
from torch.testing import assert_close

from mlic.models.layers.gated_graph import GatedGraph
from mlic.models.layers.semantic_attention import SemanticAttention
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
HCP_ATTENTION = {'fc1': 'cell', 'fc2': 'label', 'fc3': 'hidden', 'fc4': 'score'}
HCP_GRAPH = {
    f'fc_{n}_{side}': f'{name}_{side}'
    for n, name in enumerate(('update', 'reset', 'new'), 1)
    for side in 'wu'
}


def dot(row, column):
    return sum(a * b for a, b in zip(row, column))


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def numbers(layer):
    """Its parameters as lists."""
    return {name: parameter.tolist() for name, parameter in layer.named_parameters()}


def attend_by_loops(layer, cells, vectors):
    """Features (B, C, K) and weights (B, C, N), one number at a time, the maps as published."""
    own = numbers(layer)
    features, weights = [], []
    for image in cells.tolist():
        for vector in vectors.tolist():
            scores = []
            asking = [dot(row, vector) for row in own['label.weight']]
            for cell in image:
                asked = [dot(row, cell) for row in own['cell.weight']]
                hidden = [math.tanh(x * z) for x, z in zip(asked, asking)]
                maps = zip(own['hidden.weight'], own['hidden.bias'])
                mixed = [dot(row, hidden) + b for row, b in maps]
                scores.append(dot(own['score.weight'][0], mixed) + own['score.bias'][0])
            parts = [math.exp(score) for score in scores]
            parts = [part / sum(parts) for part in parts]
            weights.append(parts)
            features.append([dot(parts, channel) for channel in zip(*image)])
    shape = len(cells), len(vectors), -1
    return (torch.tensor(x, dtype=torch.float64).reshape(shape) for x in (features, weights))


def spread_by_loops(layer, nodes, graph):
    """(B, C, K) after all steps, one number at a time."""
    own, graph = numbers(layer), graph.tolist()
    classes, channels = range(nodes.shape[1]), range(nodes.shape[2])
    reset_u = 'update_u' if layer.reset_u is None else 'reset_u'

    def linear(name, row, k):
        return dot(own[f'{name}.weight'][k], row) + own[f'{name}.bias'][k]

    images = []
    for image in nodes.tolist():
        for _ in range(layer.num_steps):
            new = []
            for c, node in enumerate(image):
                into = [sum(graph[c][j] * image[j][k] for j in classes) for k in channels]
                out = [sum(graph[j][c] * image[j][k] for j in classes) for k in channels]
                update, reset = (
                    [sigmoid(linear(w, into + out, k) + linear(u, node, k)) for k in channels]
                    for w, u in (('update_w', 'update_u'), ('reset_w', reset_u))
                )
                left = [r * h for r, h in zip(reset, node)]
                found = [
                    math.tanh(linear('new_w', into + out, k) + linear('new_u', left, k))
                    for k in channels
                ]
                new.append([(1 - z) * h + z * f for z, h, f in zip(update, node, found)])
            image = new
        images.append(image)
    return torch.tensor(images, dtype=torch.float64)


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


@pytest.mark.parametrize('shared_gate', [False, True])
def test_gated_graph_equals_loops(shared_gate):
    torch.manual_seed(0)
    layer = GatedGraph(3, 2, shared_gate).double()
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
