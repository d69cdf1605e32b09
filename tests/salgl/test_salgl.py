"""SALGLNeck against loops and recordings. B images, C classes, S scenes, K channels, N cells."""

import copy
import math
import re

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.backbones import ResNet
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.engine.checkpoints.class_transfer import take_over_weights
from mlic.engine.checkpoints.published import convert_published, reorder_classes
from mlic.engine.checkpoints.renaming import ENCODER_LAYER, NameTable
from mlic.models.heads.label_embed_head import LabelEmbedHead
from projects.salgl.published_weights import NAMES, SALGL
from projects.salgl.salgl_neck import SALGLNeck
from tests.helpers import ROOT, recorded, run_tool
from tests.peer_recordings import PeerRecording
from tests.semantic_loops import attend_by_loops, spread_by_loops

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
CONVERTER = 'tools/model_converters/published_to_mm.py'
CASES = ['hard_norm1_ign0_out1', 'soft_norm1_ign0_out1', 'hard_norm0_ign1_out0']
# the softmax takes them out again
WITHOUT_EFFECT = ('attention.hidden_linear.bias', 'attention.target_linear.bias')


class Model(nn.Module):
    """Neck and head."""

    def __init__(self, neck, head):
        super().__init__()
        self.neck, self.head = neck, head

    def forward(self, tokens):
        return self.head(self.neck((tokens,)))

    def losses(self, tokens, samples):
        feats, losses = self.neck.loss((tokens,), samples)
        return {**losses, **self.head.loss(feats, samples)}, self.head(feats)


# --- recordings ---------------------------------------------------------------------------------


def recorded_model(case):
    """The model of a case with its weights, in float64, and the recording."""
    recording = PeerRecording('salgl')
    widths = recorded('peers/index.json')['salgl']['widths']
    kind, normalise, ignore_self, both_ways = re.fullmatch(
        r'(hard|soft)_norm(\d)_ign(\d)_out(\d)', case
    ).groups()
    weights = SALGL.convert(recording.weights(f'{case}.sd.'))
    neck = SALGLNeck(
        widths['feature'],
        recording['target'].shape[1],
        widths['feature'],
        num_heads=widths['heads'],
        feedforward_channels=widths['ffn'],
        dropout=0.0,
        hidden_channels=widths['attention'],
        num_steps=widths['steps'],
        both_ways=both_ways == '1',
        vectors=dict(dims=widths['embed'], file='of the recording'),
        graph=dict(
            num_scenes=widths['scenes'],
            soft=kind == 'soft',
            normalise=normalise == '1',
            ignore_self=ignore_self == '1',
        ),
    )
    model = Model(neck, LabelEmbedHead(neck.num_classes, widths['feature'])).double()
    model.load_state_dict(weights)
    return model, recording


@pytest.mark.parametrize('case', CASES)
def test_scores_losses_and_gradients_are_those_of_the_released_code(case):
    model, recording = recorded_model(case)
    tokens = recording.double('tokens').requires_grad_()
    _, scenes, _ = model.neck._see((tokens,))
    recording.check(scenes, f'{case}.train.scene_probs.f64')
    losses, score = model.losses(tokens, recording.samples())
    recording.check(model.neck.graph.counts, f'{case}.train.comatrix_after.f64')
    recording.check(model.neck.graph(scenes), f'{case}.train.comat.f64')
    recording.check(score, f'{case}.train.logits.f64')
    recording.check(losses['loss_sample_entropy'], f'{case}.train.sample_en.f64')
    recording.check(losses['loss_batch_entropy'], f'{case}.train.batch_en.f64')
    recording.check(losses['loss_cls'], f'{case}.train.loss.cls_bce.f64')
    total = sum(losses.values())
    recording.check(total, f'{case}.train.loss.total.f64')
    total.backward()
    found = {NAMES.theirs(name): p.grad for name, p in model.named_parameters()}
    recording.check_gradients(
        {**found, 'in.tokens': tokens.grad}, f'{case}.grad.', zero=WITHOUT_EFFECT
    )


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('dtype', ['f64', 'f32'])
def test_predictions_are_those_of_the_released_code(case, dtype):
    model, recording = recorded_model(case)
    kind = torch.float64 if dtype == 'f64' else torch.float32
    model, tokens = model.to(kind).eval(), recording['tokens'].to(kind)
    with torch.no_grad():
        recording.check(model(tokens), f'{case}.eval.logits.{dtype}')
        _, scenes, _ = model.neck._see((tokens,))
        recording.check(scenes, f'{case}.eval.scene_probs.{dtype}')
        recording.check(model.neck.graph(scenes), f'{case}.eval.comat.{dtype}')
        maps = model.neck.attention_maps((tokens,)).flatten(2)
        recording.check(maps, f'{case}.eval.attention.{dtype}')
        recording.check(model.neck.graph.counts, f'{case}.eval.comatrix_after.{dtype}')


def test_a_released_checkpoint_is_converted_whole(tmp_path, capsys):
    recording = PeerRecording('salgl')
    weights = {k: v.float() for k, v in recording.weights(f'{CASES[0]}.sd.').items()}
    network = ResNet(18).state_dict()
    weights.update({f'backbone.{name}': value for name, value in network.items()})
    assert convert_published(weights)[0] is SALGL
    torch.save(dict(state_dict=weights), tmp_path / 'theirs.pth')
    run_tool(CONVERTER, tmp_path / 'theirs.pth', tmp_path / 'ours.pth')
    classes = recording['target'].shape[1]
    assert f'ours.pth: SALGL, {classes} classes' in capsys.readouterr().out
    found = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    model, _ = recorded_model(CASES[0])
    assert_close({k: v.double() for k, v in found.items() if k[0] != 'b'}, model.state_dict())
    assert_close(found['backbone.layer4.1.conv2.weight'], network['layer4.1.conv2.weight'])


# --- loops --------------------------------------------------------------------------------------


def small_neck(**settings):
    """A neck in float64 that has counted something, maps (2, 6, 2, 3) for it, and their labels."""
    torch.manual_seed(0)
    widths = dict(embed_dims=4, hidden_channels=3, num_heads=2, feedforward_channels=5)
    settings = {**widths, 'vectors': dict(dims=2), 'graph': dict(num_scenes=3), **settings}
    neck = SALGLNeck(6, 3, dropout=0.0, **settings).double()
    labels = (torch.rand(9, 3, 3) < 0.5).double()
    neck.graph.counts.copy_(torch.einsum('nsi,nsj->sij', labels, labels))
    nn.init.normal_(neck.scene.weight)  # so that the images are of several scenes
    samples = [DataSample().set_gt_score(torch.tensor(x)) for x in ([1.0, 0, 1], [0.0, 1, 1])]
    return neck, torch.randn(2, 6, 2, 3).double(), samples


def see_by_torch(neck, feature_map):
    """Cells (B, N, K) of torch's own layer, and the scenes, a number at a time."""
    attn, ffn = neck.encoder.attn, neck.encoder.ffn
    sizes = attn.embed_dim, attn.num_heads, len(ffn[0].weight)
    layer = nn.TransformerEncoderLayer(*sizes, 0.0, batch_first=True).double()
    layer.load_state_dict(NameTable(ENCODER_LAYER).rename(neck.encoder.state_dict(), back=True))
    cells = layer(feature_map.flatten(2).transpose(1, 2)).detach()
    probabilities = []
    for image in cells.tolist():
        mean = [sum(column) / len(image) for column in zip(*image)]
        weight = neck.scene.weight.tolist()
        scores = [math.exp(sum(w * x for w, x in zip(row, mean))) for row in weight]
        probabilities.append([score / sum(scores) for score in scores])
    return cells, torch.tensor(probabilities, dtype=torch.float64)


def embed_by_loops(neck, feature_map):
    """Label embeddings of a neck that has counted."""
    cells, scenes = see_by_torch(neck, feature_map)
    features, _ = attend_by_loops(neck.attention, cells, neck.vectors())
    graphs = []
    for image in scenes:
        counts = neck.graph.counts[image.argmax()]
        rows = [[n / row[i] if row[i] else n * 0 for n in row] for i, row in enumerate(counts)]
        graphs.append([[x / sum(row) if sum(row) else x for x in row] for row in rows])
    nodes = spread_by_loops(neck.gated_graph, features, torch.tensor(graphs, dtype=torch.float64))
    weight, bias = neck.output.weight.tolist(), neck.output.bias.tolist()
    rows = [
        [math.tanh(sum(w * x for w, x in zip(row, values)) + b) for row, b in zip(weight, bias)]
        for values in torch.cat([features, nodes], dim=-1).flatten(0, 1).tolist()
    ]
    return torch.tensor(rows, dtype=torch.float64).unflatten(0, features.shape[:2])


@torch.no_grad()
def test_embeddings_equal_loops_before_and_after_the_labels_are_counted():
    neck, feature_map, samples = small_neck()
    before = neck.eval()((feature_map,))[0]
    assert_close(before, embed_by_loops(neck, feature_map), rtol=1e-7, atol=1e-9)
    (found,), _ = neck.train().loss((feature_map,), samples)
    assert_close(found, embed_by_loops(neck, feature_map), rtol=1e-7, atol=1e-9)
    assert not torch.allclose(found, before)  # the images' own labels are in their graphs


@pytest.mark.parametrize('images', [1, 2])
def test_losses_equal_loops(images):
    neck, feature_map, samples = small_neck(entropy_weights=(2.0, 30.0))
    feature_map, samples = feature_map[:images], samples[:images]
    _, losses = neck.loss((feature_map,), samples)

    def entropy(p):
        return -sum(x * math.log(x + 1e-7) for x in p)

    scenes = see_by_torch(neck, feature_map)[1].tolist()
    each = sum(map(entropy, scenes)) / images
    mean = [sum(column) / images for column in zip(*scenes)]
    expected = dict(
        loss_sample_entropy=2 * each,
        loss_batch_entropy=30 * (entropy([1 / 3] * 3) - entropy(mean)),
    )
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, 1e-9)


def test_another_width_of_the_nodes_takes_a_projection():
    neck, feature_map, _ = small_neck(node_channels=4)
    projected = torch.einsum('bkhw,dk->bdhw', feature_map, neck.input_proj.weight[..., 0, 0])
    projected = projected + neck.input_proj.bias[:, None, None]
    with torch.no_grad():
        found = neck.eval()((feature_map,))[0]
        assert_close(found, embed_by_loops(neck, projected), rtol=1e-7, atol=1e-9)


# --- training -----------------------------------------------------------------------------------


def test_what_stands_where_a_label_is_unknown_changes_nothing():
    results = []
    for value in (0.0, 1.0, float('nan')):
        neck, feature_map, samples = small_neck()
        samples[0].gt_score[1] = value
        samples[0].set_metainfo(dict(gt_label_unknown=[1]))
        (embeds,), losses = neck.loss((feature_map,), samples)
        (embeds.sum() + sum(losses.values())).backward()
        results.append([neck.graph.counts, embeds, *(p.grad for p in neck.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0]) if a is not None)


def test_a_neck_that_sees_no_labels_does_not_train():
    neck, feature_map, _ = small_neck()
    with pytest.raises(ValueError, match="set model.type to 'NeckLossClassifier'"):
        neck((feature_map,))
    before = neck.graph.counts.clone()
    with torch.no_grad():
        neck((feature_map,))
    neck.eval()((feature_map,))
    assert torch.equal(neck.graph.counts, before)


@torch.no_grad()
@pytest.mark.parametrize('soft', [False, True])
def test_before_an_export_the_graphs_become_a_constant(soft):
    neck, feature_map, _ = small_neck(graph=dict(num_scenes=3, soft=soft))
    neck.graph.counts[:, 1] = neck.graph.counts[:, :, 1] = 0  # a class that no image has had
    fixed = copy.deepcopy(neck.eval())
    fixed.graph.before_export()
    assert torch.equal(fixed((feature_map,))[0], neck((feature_map,))[0])
    assert fixed.state_dict().keys() == neck.state_dict().keys()
    fixed.graph.counts.fill_(math.nan)  # float16 has none above 65,504
    assert torch.equal(fixed((feature_map,))[0], neck((feature_map,))[0])
    fixed.graph.before_export()  # again: of what the counts are now
    assert fixed.graph.constant_graphs.isnan().all()


def test_counts_follow_the_names_of_both_classes():
    old, new = small_neck()[0], small_neck()[0]
    new.graph.counts.fill_(-1.0)  # as if it were initialised so
    weights = {f'neck.{name}': value for name, value in old.state_dict().items()}
    stored = dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=list('abc'))))
    take_over_weights(stored, nn.ModuleDict(dict(neck=new)), list('cxa'), {}, 'a.pth')
    found, counts = stored['state_dict']['neck.graph.counts'], old.graph.counts
    for s in range(3):
        for i, first in enumerate('cxa'):
            for j, second in enumerate('cxa'):
                known = 'x' not in (first, second)
                expected = counts[s, 'abc'.index(first), 'abc'.index(second)] if known else -1
                assert found[s, i, j] == expected


def test_released_counts_are_put_in_another_order_of_the_classes():
    model = nn.ModuleDict(dict(neck=small_neck()[0]))
    counts = model.neck.graph.counts
    found = reorder_classes(model.state_dict(), model, [2, 0, 1])['neck.graph.counts']
    assert torch.equal(found[:, 0, 1], counts[:, 2, 0])
    assert torch.equal(found[:, 2, 1], counts[:, 1, 0])


# --- configs ------------------------------------------------------------------------------------


def test_size_of_the_published_backbone():
    cfg = Config.fromfile(ROOT / 'configs/salgl/salgl_r101_coco448.py')
    backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': None})
    backbone.train()
    assert all(p.requires_grad for p in backbone.parameters())
    assert sum(p.numel() for p in backbone.parameters()) == 42_500_160
    assert all(module.training for module in backbone.modules())
