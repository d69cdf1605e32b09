"""SSGRLNeck against loops and recordings. B images, C classes, K channels, D embed dims."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.backbones import ResNet
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mlic.engine.checkpoints.published import convert_published
from projects.ssgrl.published_weights import LAYERS, SSGRL
from projects.ssgrl.ssgrl_neck import SSGRLNeck
from tests.helpers import ROOT, run_tool
from tests.peer_recordings import PeerRecording
from tests.semantic_loops import attend_by_loops, spread_by_loops

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
CONVERTER = 'tools/model_converters/published_to_mm.py'
# the softmax takes them out again
WITHOUT_EFFECT = ('word_semantic.fc_3.bias', 'word_semantic.fc_a.bias')


class Model(nn.Module):
    """Neck and head."""

    def __init__(self, neck, head):
        super().__init__()
        self.neck, self.head = neck, head

    def forward(self, feature):
        return self.head(self.neck((feature,)))

    def loss(self, feature, samples):
        return self.head.loss(self.neck((feature,)), samples)['loss_cls']


def recorded_model():
    """The model of the recording with its weights, in float64, and the recording."""
    recording = PeerRecording('ssgrl', rtol=1e-7, gradient_rtol=1e-5)  # its graph is float32
    weights = SSGRL.convert(recording.weights())
    built = SSGRL.model_of(weights)
    weights['neck.vectors.vectors'] = recording.double('word_vectors')
    weights['neck.graph.matrix'] = recording['graph'].float()
    model = Model(built.neck, built.head).double()
    model.load_state_dict(weights)
    return model, recording


def released(model):
    """Parameters by their released names."""
    own = dict(model.named_parameters())
    names = [(f'{theirs}.{kind}', f'{ours}.{kind}') for theirs, ours in LAYERS.items()
             for kind in ('weight', 'bias')]  # fmt: skip
    found = {theirs: own.pop(ours) for theirs, ours in names if ours in own}
    assert not own
    return found


def test_scores_losses_and_gradients_are_those_of_the_released_code():
    model, recording = recorded_model()
    feature = recording.double('feature').requires_grad_()
    semantic, _ = model.neck.attention(feature.flatten(2).mT, model.neck.vectors())
    recording.check(semantic, 'train.semantic.f64')
    recording.check(model.neck.gated_graph(semantic, model.neck.graph()), 'train.graph_out.f64')
    recording.check(model(feature), 'train.score.f64')
    loss = model.loss(feature, recording.samples())
    recording.check(loss, 'train.loss.total.f64')
    loss.backward()
    found = {name: parameter.grad for name, parameter in released(model).items()}
    recording.check_gradients({**found, 'in.feature': feature.grad}, zero=WITHOUT_EFFECT)
    recording.check(model.eval()(feature), 'eval.score.f64')
    recording.check(model.float()(recording['feature']), 'eval.score.f32')


def test_three_steps_are_those_of_the_released_code():
    model, recording = recorded_model()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    feature, samples = recording.double('feature'), recording.samples()
    recording.check_steps(adam, lambda: model.loss(feature, samples), released(model))
    recording.check(model(feature), 'steps.eval.score')


def test_the_keys_of_a_released_checkpoint_say_whose_it_is():
    assert convert_published(PeerRecording('ssgrl').weights())[0] is SSGRL


def test_graph_and_vectors_of_the_released_code_are_files_of_their_own(tmp_path, capsys):
    recording = PeerRecording('ssgrl')
    weights = {name: value.float() for name, value in recording.weights().items()}
    network = ResNet(18).state_dict()
    weights.update({f'resnet_101.{name}': value for name, value in network.items()})
    torch.save(dict(state_dict=weights, best_mAP=83.8), tmp_path / 'model_best.pth.tar')
    np.save(tmp_path / 'vectors.npy', recording['word_vectors'])
    np.save(tmp_path / 'graph.npy', recording['graph'])
    ours = tmp_path / 'ours.pth'
    given = dict(vectors=tmp_path / 'vectors.npy', graph=tmp_path / 'graph.npy')
    for missing, message in dict(vectors='no word vectors', graph='no graph').items():
        options = [x for name in given if name != missing for x in (f'--{name}', given[name])]
        with pytest.raises(SystemExit, match=message):
            run_tool(CONVERTER, tmp_path / 'model_best.pth.tar', ours, *options)
    options = [x for name, path in given.items() for x in (f'--{name}', path)]
    run_tool(CONVERTER, tmp_path / 'model_best.pth.tar', ours, *options)
    assert f'ours.pth: SSGRL, {len(recording["graph"])} classes' in capsys.readouterr().out
    found = torch.load(ours, weights_only=True)['state_dict']
    model, _ = recorded_model()
    assert_close({k: v.double() for k, v in found.items() if k[0] != 'b'}, model.state_dict())
    assert_close(found['backbone.layer4.1.conv2.weight'], network['layer4.1.conv2.weight'])
    np.save(tmp_path / 'graph.npy', recording['graph'][:-1])
    with pytest.raises(SystemExit, match='must hold numbers of shape'):
        run_tool(CONVERTER, tmp_path / 'model_best.pth.tar', ours, *options)


def small_neck(**settings):
    """A neck in float64 whose graph has edges, and maps (2, 6, 4, 5) for it."""
    torch.manual_seed(0)
    settings = dict(embed_dims=4, hidden_channels=3, vectors=dict(dims=2), **settings)
    neck = SSGRLNeck(6, 3, **settings).double()
    neck.graph.matrix.copy_(torch.rand(3, 3))
    return neck, torch.randn(2, 6, 4, 5).double()


@pytest.mark.parametrize('shared_gate', [False, True])
def test_neck_equals_loops(shared_gate):
    neck, feature_map = small_neck(shared_gate=shared_gate)
    cells = feature_map.flatten(2).mT
    features, weights = attend_by_loops(neck.attention, cells, neck.vectors())
    nodes = spread_by_loops(neck.gated_graph, features, neck.graph())
    weight, bias = neck.output.weight.tolist(), neck.output.bias.tolist()
    rows = [
        [sum(w * x for w, x in zip(row, values)) + b for row, b in zip(weight, bias)]
        for values in torch.cat([nodes, features], dim=-1).flatten(0, 1).tolist()
    ]
    with torch.no_grad():
        expected = torch.tensor(rows, dtype=torch.float64).tanh().reshape(2, 3, 4)
        assert_close(neck((feature_map,))[0], expected, **EXACT)
        assert_close(neck.attention_maps((feature_map,)), weights.reshape(2, 3, 4, 5), **EXACT)


def test_a_pooled_map_is_the_mean_of_whole_squares():
    neck, feature_map = small_neck(pool_size=2)
    pooled = feature_map[..., :4].reshape(2, 6, 2, 2, 2, 2).mean((3, 5))  # the fifth column is left
    with torch.no_grad():
        found, maps = neck((feature_map,))[0], neck.attention_maps((feature_map,))
        neck.pool_size = 1
        assert_close(found, neck((pooled,))[0], **EXACT)
    assert maps.shape == (2, 3, 2, 2)
    assert_close(maps.sum((2, 3)), torch.ones(2, 3).double(), **EXACT)
    neck.pool_size = 5
    with pytest.raises(ValueError, match=r'\(4, 5\) cells has no square of pool_size=5'):
        neck((feature_map,))


def test_the_graph_is_the_one_that_is_asked_for():
    neck, _ = small_neck(graph=dict(kind='reweighted'))
    assert (neck.graph.kind, small_neck()[0].graph.kind) == ('reweighted', 'conditional')
    with pytest.raises(ValueError, match='pool_size must be'):
        small_neck(pool_size=0)


def test_another_width_of_the_nodes_takes_a_projection():
    neck, feature_map = small_neck(node_channels=5)
    projected = torch.einsum('bkhw,dk->bdhw', feature_map, neck.input_proj.weight[..., 0, 0])
    projected = projected + neck.input_proj.bias[:, None, None]
    features, _ = neck.attention(projected.flatten(2).mT, neck.vectors())
    nodes = neck.gated_graph(features, neck.graph())
    expected = neck.output(torch.cat([nodes, features], dim=-1)).tanh()
    assert_close(neck((feature_map,))[0], expected, **EXACT)


def test_what_of_the_published_backbone_is_trained():
    cfg = Config.fromfile(ROOT / 'configs/ssgrl/ssgrl_r101_coco576.py')
    backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': None})
    backbone.train()
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in backbone.named_parameters() if 'layer4' in name}
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == 14_964_736
    # layer4's BatchNorm takes the statistics of its batch, and the frozen ones do not
    modes = {name: m.training for name, m in backbone.named_modules() if 'bn' in name}
    assert all(mode == ('layer4' in name) for name, mode in modes.items())
