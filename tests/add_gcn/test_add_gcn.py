"""ADD-GCN against loops and recordings. B images, C classes, K channels, D embed dims, N cells."""

import math

import pytest
import torch
from mmpretrain.models.backbones import ResNet
from torch.testing import assert_close

from mlic.engine.checkpoints.published import convert_published, reorder_classes
from projects.add_gcn.add_gcn_head import ADDGCNHead
from projects.add_gcn.add_gcn_neck import ADDGCNNeck
from projects.add_gcn.published_weights import ADD_GCN, NAMES
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64


def make_model(in_channels, num_classes, embed_dims):
    """Neck and head, in float64."""
    neck = ADDGCNNeck(in_channels, num_classes, embed_dims)
    return torch.nn.ModuleDict(dict(neck=neck, head=ADDGCNHead(num_classes, embed_dims))).double()


def recorded_model():
    """Neck and head of the recording with its weights, and the recording."""
    recording = PeerRecording('add_gcn')
    feature, target = recording['feature'], recording['target']
    weights = ADD_GCN.convert(recording.weights())
    dims = len(weights['neck.transform.weight'])
    model = make_model(feature.shape[1], target.shape[1], dims)
    model.load_state_dict(weights)
    return model, recording


def scale(value):
    return value if value > 0 else 0.2 * value


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def linear(layer, vector):
    """A layer of one vector, one product at a time."""
    rows, bias = layer.weight.flatten(1).tolist(), [0.0] * len(layer.weight)
    if layer.bias is not None:
        bias = layer.bias.tolist()
    return [sum(w * x for w, x in zip(row, vector)) + b for row, b in zip(rows, bias)]


def by_loops(model, feature_map):
    """Both scores, the fused one, and the maps, one number at a time; batch norm in evaluation."""
    neck, head = model['neck'], model['head']
    graph, scores, maps = neck.dynamic_graph, [], []
    for image in feature_map:
        cells = image.flatten(1).T.tolist()
        activation = [linear(neck.activation, cell) for cell in cells]  # (N, C)
        classes = range(neck.num_classes)
        width = range(len(neck.transform.bias))
        content = [[0.0 for _ in width] for _ in classes]
        for cell, row in zip(cells, activation):
            transformed = linear(neck.transform, cell)
            for c in classes:
                for d in width:
                    content[c][d] += sigmoid(row[c]) * transformed[d]
        static = neck.static_graph.weight.tolist()
        nodes = []
        for c in classes:
            mixed = [scale(sum(static[c][i] * content[i][d] for i in classes)) for d in width]
            added = linear(neck.static_update, mixed)
            nodes.append([content[c][d] + scale(added[d]) for d in width])
        context = linear(graph.context, [sum(n[d] for n in nodes) / len(nodes) for d in width])
        norm = graph.context_norm
        for d in width:
            value = (context[d] - norm.running_mean[d]) / (norm.running_var[d] + norm.eps).sqrt()
            context[d] = scale(float(value * norm.weight[d] + norm.bias[d]))
        row, found = [], []
        for c in classes:
            weights = [sigmoid(x) for x in linear(graph.correlation, context + nodes[c])]
            mixed = [scale(sum(weights[i] * nodes[i][d] for i in classes)) for d in width]
            added = linear(graph.update, mixed)
            embed = [content[c][d] + scale(added[d]) for d in width]
            score = sum(w * e for w, e in zip(head.fc.weight[c].tolist(), embed))
            row.append((max(cell[c] for cell in activation), score + float(head.fc.bias[c])))
            gates = [sigmoid(cell[c]) for cell in activation]
            found.append([gate / sum(gates) for gate in gates])
        scores.append(row)
        maps.append(found)
    activation, graph = torch.tensor(scores, dtype=torch.float64).unbind(-1)
    maps = torch.tensor(maps, dtype=torch.float64).view(*activation.shape, *feature_map.shape[2:])
    return activation, graph, maps


def test_scores_and_maps_equal_loops():
    torch.manual_seed(0)
    model = make_model(4, 3, 5).eval()
    norm = model['neck'].dynamic_graph.context_norm
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(value, 0.5, 2)
    feature_map = torch.randn(2, 4, 2, 3).double()
    with torch.no_grad():
        activation, graph, maps = by_loops(model, feature_map)
        feats = model['neck']((feature_map,))
        scores = model['head'].scores(feats)
        assert_close(scores['activation'], activation, **EXACT)
        assert_close(scores['graph'], graph, **EXACT)
        assert_close(model['head'](feats), (activation + graph) / 2, **EXACT)
        assert_close(model['neck'].attention_maps((feature_map,)), maps, **EXACT)


def check_outputs(model, recording, prefix, suffix=''):
    """Everything that the recording has of a forward pass; gives what the head takes."""
    outputs = []  # of the dynamic graph: its weights before the sigmoid, and what it adds
    graph = model['neck'].dynamic_graph
    handles = [
        module.register_forward_hook(lambda _, __, output: outputs.append(output))
        for module in (graph.correlation, graph)
    ]
    dtype = next(model.parameters()).dtype
    feats = model['neck']((recording['feature'].to(dtype),))
    for handle in handles:
        handle.remove()
    weights, added = outputs
    scores = model['head'].scores(feats)
    for name, value in dict(
        out1=scores['activation'],
        out2=scores['graph'],
        score=model['head'](feats),
        dgcn=added.transpose(1, 2),
        sam=(feats[-1] - added).transpose(1, 2),
        dynamic_adj=weights.sigmoid().transpose(1, 2),
    ).items():
        recording.check(value, f'{prefix}.{name}{suffix}')
    return feats


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_scores_and_loss_are_those_of_the_released_code(mode):
    for dtype, suffix in ((torch.float64, '.f64'), (torch.float32, '.f32')):
        model, recording = recorded_model()
        model.to(dtype).train(mode == 'train')
        feats = check_outputs(model, recording, mode, suffix)
        losses = model['head'].loss(feats, recording.samples())
        assert list(losses) == ['loss_cls']
        recording.check(losses['loss_cls'], f'{mode}.loss.total{suffix}')


def total_loss(model, feature, recording):
    return model['head'].loss(model['neck']((feature,)), recording.samples())['loss_cls']


def test_gradients_and_statistics_are_those_of_the_released_code():
    model, recording = recorded_model()
    feature = recording.double('feature').requires_grad_()
    total_loss(model, feature, recording).backward()
    gradients = [(name, p.grad) for name, p in model.named_parameters()]
    recording.check_gradients({**recording.released(gradients, NAMES), 'in.feature': feature.grad})
    for name, buffer in recording.released(model.named_buffers(), NAMES).items():
        recording.check(buffer, f'after.{name}')


def test_three_steps_are_those_of_the_released_code():
    model, recording = recorded_model()
    feature = recording.double('feature')
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    # which the steps change in place
    entries = recording.released(model.state_dict().items(), NAMES)
    recording.check_steps(sgd, lambda: total_loss(model, feature, recording), entries, max_norm=10)
    check_outputs(model.eval(), recording, 'steps.eval')


def test_one_image_cannot_be_trained_on():
    model, feature_map = make_model(4, 3, 5), torch.randn(1, 4, 2, 2).double()
    with pytest.raises(ValueError, match=r'over the images of a batch and got one: .*drop_last'):
        model['neck']((feature_map,))
    model['neck'].dynamic_graph.context_norm.eval()  # as of a frozen model
    model['head'](model['neck']((feature_map,)))
    assert model.eval()['head'](model['neck']((feature_map,))).shape == (1, 3)


def test_classes_of_released_weights_are_put_in_another_order():
    torch.manual_seed(0)
    model, other = make_model(4, 5, 6).eval(), make_model(4, 5, 6).eval()
    order = [3, 0, 4, 1, 2]
    other.load_state_dict(reorder_classes(model.state_dict(), model, order))
    feature_map = torch.randn(2, 4, 2, 3).double()
    with torch.no_grad():
        first, second = (
            each['head'].scores(each['neck']((feature_map,))) for each in (model, other)
        )
    for name, score in first.items():
        assert_close(second[name], score[:, order], **EXACT)


def test_released_checkpoints_are_converted_whole():
    torch.manual_seed(0)
    neck, head = ADDGCNNeck(512, 5, 6), ADDGCNHead(5, 6)
    parts = torch.nn.ModuleDict(dict(backbone=ResNet(18), neck=neck, head=head))
    weights = {NAMES.theirs(name): value for name, value in parts.state_dict().items()}
    weights = {
        n: v[..., None] if n[:4] in ('gcn.', 'last') and v.dim() == 2 else v
        for n, v in weights.items()
    }
    assert {'features.0.weight', 'features.4.0.conv1.weight', 'gcn.static_adj.0.weight'} <= set(
        weights
    )
    system, found = convert_published(dict(weights, mask_mat=torch.eye(5)))
    assert system is ADD_GCN
    assert system.check(found) == 'ADD-GCN, 5 classes'
    system.model_of(found).load_state_dict(found)
    for name, value in found.items():
        assert_close(value, parts.state_dict()[name])
