"""SSGRLNeck against loops and recordings. B images, C classes, K channels, D embed dims."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mlic.models.heads.label_embed_head import LabelEmbedHead
from projects.ssgrl.ssgrl_neck import SSGRLNeck
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
NAMES = {  # the released code's, and ours
    'word_semantic.fc_1': 'neck.attention.cell',
    'word_semantic.fc_2': 'neck.attention.label',
    'word_semantic.fc_3': 'neck.attention.hidden',
    'word_semantic.fc_a': 'neck.attention.score',
    'graph_net.fc_eq3_w': 'neck.gated_graph.update_w',
    'graph_net.fc_eq3_u': 'neck.gated_graph.update_u',
    'graph_net.fc_eq4_w': 'neck.gated_graph.reset_w',
    'graph_net.fc_eq5_w': 'neck.gated_graph.new_w',
    'graph_net.fc_eq5_u': 'neck.gated_graph.new_u',
    'fc_output': 'neck.output',
    'classifiers': 'head.fc',
}
UNUSED = 'graph_net.fc_eq4_u'
# softmax takes them out again
WITHOUT_EFFECT = ('word_semantic.fc_3.bias', 'word_semantic.fc_a.bias')


class Model(torch.nn.Module):
    """Neck and head."""

    def __init__(self, num_classes, in_channels, embed_dims, **neck):
        super().__init__()
        self.neck = SSGRLNeck(in_channels, num_classes, embed_dims, **neck)
        self.head = LabelEmbedHead(num_classes, embed_dims)

    def forward(self, feature):
        return self.head(self.neck((feature,)))

    def loss(self, feature, samples):
        return self.head.loss(self.neck((feature,)), samples)['loss_cls']


def ours(name):
    """Our name of a parameter of the released code."""
    layer, _, kind = name.rpartition('.')
    return f'{NAMES[layer]}.{kind}'


def recorded_model(**neck):
    """The model of the recording with its weights, in float64, and the recording."""
    recording = PeerRecording('ssgrl', rtol=1e-7, gradient_rtol=1e-5)  # its graph is float32
    weights, vectors = recording.weights(), recording.double('word_vectors')
    model = Model(
        len(vectors),
        recording['feature'].shape[1],
        len(weights['fc_output.weight']),
        hidden_channels=len(weights['word_semantic.fc_1.weight']),
        shared_gate=True,
        vectors=dict(dims=vectors.shape[1], file='given below'),
        **neck,
    ).double()
    model.load_state_dict(
        {
            'neck.vectors.vectors': vectors,
            'neck.graph.matrix': recording['graph'].float().double(),
            **{ours(name): w for name, w in weights.items() if not name.startswith(UNUSED)},
        }
    )
    return model, recording


def released(model):
    """Parameters by their released names."""
    own = dict(model.named_parameters())
    kinds = 'weight', 'bias'
    names = (f'{layer}.{kind}' for layer in NAMES for kind in kinds)
    return {name: own[ours(name)] for name in names if ours(name) in own}


def test_scores_losses_and_gradients_are_those_of_the_released_code():
    model, recording = recorded_model()
    feature = recording.double('feature').requires_grad_()
    cells = feature.flatten(2).mT
    semantic, _ = model.neck.attention(cells, model.neck.vectors())
    recording.check(semantic, 'train.semantic.f64')
    recording.check(model.neck.gated_graph(semantic, model.neck.graph()), 'train.graph_out.f64')
    recording.check(model(feature), 'train.score.f64')
    loss = model.loss(feature, recording.samples())
    recording.check(loss, 'train.loss.total.f64')
    loss.backward()
    found = {name: p.grad for name, p in released(model).items()}
    assert set(found.values()) == {p.grad for p in model.parameters()}
    recording.check_gradients({**found, 'in.feature': feature.grad}, zero=WITHOUT_EFFECT)
    recording.check(model.eval()(feature), 'eval.score.f64')
    recording.check(model.float()(recording['feature']), 'eval.score.f32')


def test_three_steps_are_those_of_the_released_code():
    model, recording = recorded_model()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    feature, samples = recording.double('feature'), recording.samples()
    recording.check_steps(adam, lambda: model.loss(feature, samples), released(model))
    recording.check(model(feature), 'steps.eval.score')
