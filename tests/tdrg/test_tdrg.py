"""TDRG against loops and recordings. B images, C classes, K channels, D embed dims, N cells."""

import copy
import math
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models.backbones import ResNet
from torch.testing import assert_close

from mlic.apis.open_run import open_run
from mlic.engine.checkpoints.published import convert_published
from projects.tdrg.published_weights import NAMES, TDRG
from projects.tdrg.tdrg_head import TDRGHead, cross_scale
from tests.helpers import call_tool
from tests.peer_recordings import PeerRecording
from tests.tiny_runs import every_model, write_run

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
SCORES = dict(trans='out_trans', gcn='out_gcn', sac='out_sac', cls='score')


def recorded_head():
    recording = PeerRecording('tdrg')
    return recording.head_of(TDRG), recording


def tiny_head(attend='cells', seed=0):
    """A head of 3 classes on maps of 5 and 6 channels, in evaluation mode."""
    torch.manual_seed(seed)
    widths = dict(embed_dims=4, graph_dims=2, num_layers=2, num_heads=2, feedforward_channels=3)
    head = TDRGHead(3, (5, 6), attend=attend, **widths).double().eval()
    norm = head.graph.context_norm
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(value, 0.5, 2)
    return head


def features(recording, dtype=torch.float64):
    return tuple(recording[f'feature{stage}'].to(dtype) for stage in (3, 4))


def draw(images, fine=(6, 7), coarse=(3, 4), seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = (images, 5, *fine), (images, 6, *coarse)
    return tuple(torch.randn(shape, generator=generator).double() for shape in shapes)


# --- from the formulas -------------------------------------------------------------------------


def resized(grid, height, width):
    """Bilinear, corner on corner: a dictionary (y, x) → vector of another size."""
    rows, columns = (max(key[axis] for key in grid) for axis in (0, 1))
    result = {}
    for y in range(height):
        for x in range(width):
            v = y * rows / (height - 1) if height > 1 else 0.0
            u = x * columns / (width - 1) if width > 1 else 0.0
            top, left = min(int(v), rows), min(int(u), columns)
            below, right = min(top + 1, rows), min(left + 1, columns)
            b, a = v - top, u - left
            upper = (1 - a) * grid[top, left] + a * grid[top, right]
            lower = (1 - a) * grid[below, left] + a * grid[below, right]
            result[y, x] = (1 - b) * upper + b * lower
    return result


def convolved(layer, grid, stride=1):
    """A convolution without padding of a dictionary (y, x) → vector."""
    size = layer.kernel_size[0]
    rows, columns = (max(key[axis] for key in grid) + 1 for axis in (0, 1))
    return {
        (y, x): layer.bias
        + sum(
            layer.weight[:, :, j, i] @ grid[stride * y + j, stride * x + i]
            for j in range(size)
            for i in range(size)
        )
        for y in range((rows - size) // stride + 1)
        for x in range((columns - size) // stride + 1)
    }


def encoded(layer, tokens):
    """One layer of a list of vectors that attend to each other."""
    width, heads = len(tokens[0]), layer.attn.num_heads
    weight, bias = layer.attn.in_proj_weight, layer.attn.in_proj_bias
    projected = [weight @ token + bias for token in tokens]
    result = []
    for token, own in zip(tokens, projected):
        parts = []
        for head in range(heads):
            of = slice(head * width // heads, (head + 1) * width // heads)
            query = own[:width][of]
            keys = [each[width : 2 * width][of] for each in projected]
            shares = [math.exp(float(query @ key) / math.sqrt(width / heads)) for key in keys]
            values = [each[2 * width :][of] for each in projected]
            parts.append(sum(s * v for s, v in zip(shares, values)) / sum(shares))
        token = layer.attn_norm(token + layer.attn.out_proj(torch.cat(parts)))
        hidden = layer.ffn[0](token)
        hidden = torch.stack([x * (1 + torch.erf(x / math.sqrt(2))) / 2 for x in hidden])
        result.append(layer.ffn_norm(token + layer.ffn[3](hidden)))
    return result


def by_loops(head, feats):
    """The three scores (B, C) of images that are looked at cell by cell."""
    images = []
    for fine, coarse in zip(*feats):
        fine, coarse = (
            {(y, x): each[:, y, x] for y in range(each.shape[1]) for x in range(each.shape[2])}
            for each in (fine, coarse)
        )
        scales = [convolved(head.projections[0], fine), convolved(head.projections[1], coarse)]
        scales.append(convolved(head.projections[2], coarse, stride=2))
        sizes = [[max(key[axis] for key in grid) + 1 for axis in (0, 1)] for grid in scales]
        large = [resized(grid, *map(max, zip(*sizes))) for grid in scales]
        product = {cell: large[0][cell] * large[1][cell] * large[2][cell] for cell in large[0]}
        sums = [{cell: grid[cell] + product[cell] for cell in grid} for grid in large]
        scales = [resized(grid, *size) for grid, size in zip(sums, sizes)]
        images.append((coarse, scales))
    for layer in head.encoder:
        for scale in range(3):
            grids = [scales[scale] for _, scales in images]
            for group in groups(grids, head.mixes_images):
                tokens = encoded(layer, [grids[image][cell] for image, cell in group])
                for (image, cell), token in zip(group, tokens):
                    grids[image][cell] = token
    return [torch.stack(score) for score in zip(*(scores_of(head, *each) for each in images))]


def groups(grids, over_images):
    """Which (image, cell) attend to each other."""
    if over_images:
        return [[(image, cell) for image in range(len(grids))] for cell in grids[0]]
    return [[(image, cell) for cell in grid] for image, grid in enumerate(grids)]


def scale(vector):
    return torch.stack([x if x > 0 else 0.2 * x for x in vector])


def scores_of(head, coarse, scales):
    """The scores (C,) of an image whose maps are encoded."""
    classes, graph = range(head.num_classes), head.graph
    largest = torch.cat([torch.stack([*grid.values()]).max(0).values for grid in scales])
    trans = torch.stack(
        [head.trans_fc.weight[c] @ largest + head.trans_fc.bias[c] for c in classes]
    )
    activation = {cell: head.activation.weight[:, :, 0, 0] @ x for cell, x in coarse.items()}
    most = max(1, round(0.05 * len(coarse)))
    sac = [
        sum(sorted((m[c] for m in activation.values()), reverse=True)[:most]) / most
        for c in classes
    ]
    transform = head.transform.weight[:, :, 0, 0], head.transform.bias
    nodes = []
    for c in classes:
        gates = {cell: 1 / (1 + torch.exp(-m[c])) for cell, m in activation.items()}
        content = sum(gates[cell] * (transform[0] @ x + transform[1]) for cell, x in coarse.items())
        guide = head.guidance(sum(gates[cell] * x for cell, x in scales[1].items()))
        nodes.append(torch.cat([content, guide]))
    context = graph.context(torch.cat([sum(grid.values()) / len(grid) for grid in scales]))
    norm = graph.context_norm
    context = (context - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    context = scale(context * norm.weight + norm.bias)
    gcn = []
    for c in classes:
        shares = graph.correlation(torch.cat([context, nodes[c]])).sigmoid()
        added = graph.update(scale(sum(shares[i] * nodes[i] for i in classes)))
        gcn.append(head.fc.weight[c] @ (nodes[c] + scale(added)) + head.fc.bias[c])
    return trans, torch.stack(gcn), torch.stack(sac)


@pytest.mark.parametrize('attend', ['cells', 'batch'])
def test_scores_equal_loops(attend):
    head, feats = tiny_head(attend), draw(2)
    with torch.no_grad():
        trans, gcn, sac = by_loops(head, feats)
        scores = head.scores(feats)
        assert_close(scores, dict(trans=trans, gcn=gcn, sac=sac), **EXACT)
        assert_close(head(feats), 0.7 * trans + 0.3 * gcn, **EXACT)


# --- recordings --------------------------------------------------------------------------------


def check_outputs(head, recording, prefix, suffix=''):
    """Everything that the recording has of a forward pass; gives the losses."""
    outputs = {}
    handles = [
        module.register_forward_hook(
            lambda _, inputs, output, key=key: outputs.update({key: (inputs, output)})
        )
        for key, module in dict(
            trans=head.trans_fc, nodes=head.fc, correlation=head.graph.correlation
        ).items()
    ]
    losses = head.loss(features(recording, next(head.parameters()).dtype), recording.samples())
    for handle in handles:
        handle.remove()
    (pooled,), trans = outputs['trans']
    (nodes,), gcn = outputs['nodes']
    for name, value in dict(
        out_trans=trans,
        out_gcn=gcn,
        score=head.fuse(dict(trans=trans, gcn=gcn)),
        trans_feature=pooled[:, 0],
        nodes_after_gcn=nodes.transpose(1, 2),
        joint_correlation=outputs['correlation'][1].sigmoid().transpose(1, 2),
    ).items():
        recording.check(value, f'{prefix}.{name}{suffix}')
    return losses


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_scores_and_losses_are_those_of_the_released_code(mode):
    for dtype, suffix in ((torch.float64, '.f64'), (torch.float32, '.f32')):
        head, recording = recorded_head()
        losses = check_outputs(head.to(dtype).train(mode == 'train'), recording, mode, suffix)
        for name, key in SCORES.items():
            recording.check(losses[f'loss_{name}'], f'{mode}.loss.{key}{suffix}')
        recording.check(sum(losses.values()), f'{mode}.loss.total{suffix}')
        sac = head.scores(features(recording, dtype))['sac']
        recording.check(sac, f'{mode}.out_sac{suffix}')


def test_maps_of_three_sizes_meet_as_in_the_released_code():
    head, recording = recorded_head()
    fine, coarse = features(recording)
    maps = [layer(each) for layer, each in zip(head.projections, (fine, coarse, coarse))]
    for stage, found in zip((3, 4, 5), cross_scale(maps)):
        recording.check(found, f'cross_scale.x{stage}')


def test_gradients_and_statistics_are_those_of_the_released_code():
    head, recording = recorded_head()
    feats = tuple(feat.requires_grad_() for feat in features(recording))
    sum(head.loss(feats, recording.samples()).values()).backward()
    gradients = [(name, p.grad) for name, p in head.named_parameters()]
    gradients = recording.released(gradients, NAMES, 'head.')
    gradients.update({f'in.feature{stage}': feat.grad for stage, feat in zip((3, 4), feats)})
    recording.check_gradients(gradients)
    for name, buffer in recording.released(head.named_buffers(), NAMES, 'head.').items():
        recording.check(buffer, f'after.{name}')


def test_three_steps_are_those_of_the_released_code():
    head, recording = recorded_head()
    feats, samples = features(recording), recording.samples()
    sgd = torch.optim.SGD(head.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    # which the steps change in place
    entries = recording.released(head.state_dict().items(), NAMES, 'head.')
    # the gradients of key biases are rounding
    skip = [name for name in entries if name.endswith('in_proj_bias')]
    recording.check_steps(
        sgd, lambda: sum(head.loss(feats, samples).values()), entries, max_norm=10, skip=skip
    )
    check_outputs(head.eval(), recording, 'steps.eval')
    recording.check(head.scores(feats)['sac'], 'steps.eval.out_sac')


def test_the_released_scores_depend_on_the_other_images_of_the_batch():
    head, recording = recorded_head()
    head.eval()
    for image in range(len(recording['target'])):
        scores = head.scores(tuple(feat[image : image + 1] for feat in features(recording)))
        recording.check(scores['trans'], f'alone{image}.out_trans')
        recording.check(scores['gcn'], f'alone{image}.out_gcn')
        assert (scores['trans'] - recording['eval.out_trans.f64'][image]).abs().max() > 1e-3
    backwards = tuple(feat.flip(0) for feat in features(recording))
    recording.check(head.scores(backwards)['trans'], 'reversed_batch.out_trans')


def test_gradients_in_float32_are_right_where_the_product_of_the_maps_is_large():
    feats, norms = draw(4, (10, 10), (5, 5)), []
    head = tiny_head().train()
    with torch.no_grad():
        for projection in head.projections:
            projection.weight.mul_(300)  # as training does: attention logits of 1e9 and more
    for dtype in (torch.float64, torch.float32):
        head.to(dtype).zero_grad()
        scores = head.scores(tuple(feat.to(dtype) for feat in feats))
        sum(score.sum() for score in scores.values()).backward()
        gradients = [parameter.grad.flatten() for parameter in head.parameters()]
        norms.append(torch.cat(gradients).norm().double())
    assert_close(norms[1], norms[0], rtol=1e-2, atol=0)


def test_attention_logits_beyond_the_largest_float16_are_no_fault_there():
    feats, head = [feat.float() for feat in draw(4, (10, 10), (5, 5))], tiny_head().float()
    with torch.no_grad():
        for projection in head.projections:
            projection.weight.mul_(10)
    expected = head.scores(feats)
    with torch.autocast('cpu', torch.float16):
        scores = head.scores(feats)
    for name, score in scores.items():
        assert_close(score.float(), expected[name], rtol=0.05, atol=0.05)


# --- what an image gets ------------------------------------------------------------------------


@pytest.mark.parametrize('cells,most', [((3, 3), 1), ((5, 5), 1), ((14, 14), 10), ((18, 18), 16)])
def test_the_most_active_cells_are_five_percent_and_at_least_one(cells, most):
    head = tiny_head()
    feats = draw(2, coarse=cells)
    with torch.no_grad():
        activation = head.activation(feats[1]).flatten(2).sort(dim=2, descending=True).values
        assert_close(head.scores(feats)['sac'], activation[..., :most].mean(2), **EXACT)


def test_the_maps_are_shares_of_the_activation():
    head, feats = tiny_head(), draw(2)
    with torch.no_grad():
        maps, gates = head.attention_maps(feats), head.activation(feats[1]).sigmoid()
    assert_close(maps.sum((2, 3)), torch.ones(2, 3).double(), **EXACT)
    assert_close(maps * gates.sum((2, 3), keepdim=True), gates, **EXACT)


@pytest.mark.parametrize(
    'feats,message',
    [
        (draw(2)[1:], 'takes two feature maps, got 1: set .*backbone.out_indices'),
        (draw(2, coarse=(2, 3)), 'at least 3 x 3 cells, got 2 x 3: use larger images'),
        (draw(2)[::-1], r'TDRGHead\(in_channels=\(5, 6\)\) takes a feature map \(B, 5, h, w\)'),
    ],
    ids=['one', 'small', 'channels'],
)
def test_maps_that_do_not_fit_are_refused(feats, message):
    with pytest.raises(ValueError, match=message):
        tiny_head()(feats)


def test_other_things_to_attend_to_are_refused():
    with pytest.raises(ValueError, match="attend must be 'cells' or 'batch', got 'classes'"):
        tiny_head('classes')


# --- scores that depend on the batch -----------------------------------------------------------

SAID = r'head \(TDRGHead\): the scores of an image depend on the other images of its batch'


def write_tiny_run(folder, attend):
    """Config and checkpoint of a tiny model; test images of 32 px."""
    model = copy.deepcopy(every_model(10)['tdrg'])
    model['head']['attend'] = attend
    settings = dict(num_images=4, image_size=32)
    return write_run(folder, model, test_dataloader=dict(dataset=settings), test_cfg={})


@pytest.mark.parametrize('attend', ['cells', 'batch'])
def test_logs_say_that_scores_depend_on_the_batch(tmp_path, attend, monkeypatch):
    cfg, lines = Config.fromfile(write_tiny_run(tmp_path, attend)), []
    monkeypatch.setitem(open_run.__globals__, 'print_log', lambda line, **_: lines.append(line))
    open_run(tmp_path / 'best_mAP.pth', cfg, device='cpu')
    for key in [key for key in cfg if key.startswith(('train_', 'val_'))]:
        cfg.pop(key)
    cfg.update(work_dir=str(tmp_path / 'work'), load_from=str(tmp_path / 'best_mAP.pth'))
    cfg.update(experiment_name=f'tdrg_{attend}', launcher='none')
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    Runner.from_cfg(cfg).test()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    said = [bool(re.search(SAID, text)) for text in ('\n'.join(lines), log.read_text())]
    assert said == [attend == 'batch'] * 2


def test_a_model_whose_scores_depend_on_the_batch_is_not_exported(tmp_path):
    config, out = write_tiny_run(tmp_path, 'batch'), tmp_path / 'model.pt2'
    arguments = [config, tmp_path / 'best_mAP.pth', '--out', out, '--format', 'torch-export']
    message = call_tool('tools/deploy/export.py', *arguments)
    assert re.search(f'not exported: {SAID}, and a program that runs the file decides', message)
    assert not out.exists()


# --- published weights -------------------------------------------------------------------------


def published_checkpoint(head):
    """The state dict of the released code: a ResNet-18 twice, as it lists its stages twice."""
    backbone = {}
    for name, value in ResNet(18).state_dict().items():
        first, rest = name.split('.', 1)
        inside = {'conv1': '0', 'bn1': '1', 'layer1': '4'}.get(first)
        stage = '1' if inside else first.removeprefix('layer')
        rest = f'{inside}.{rest}' if inside else rest
        backbone[f'layer{stage}.{rest}'] = value
        backbone[f'backbone.{int(stage) - 1}.{rest}'] = value
    parts = {NAMES.theirs(f'head.{name}'): value for name, value in head.state_dict().items()}
    convolutions = ('guidance_conv.', 'guidance_transform.', 'matrix_', 'forward_gcn', 'gcn_class')
    for name, value in parts.items():
        if name.startswith(convolutions) and value.dim() == 2:
            parts[name] = value[..., None]
    unused = ('mask_mat', 'query_embed.weight', 'positional_embedding.row_embed.weight')
    return {**backbone, **parts, **dict.fromkeys(unused, torch.zeros(1))}


OLDER = {
    'layer1.': 'features.',
    'trans_classifier.': 'classifier.',
    'guidance_transform.': 'conv_position.',
    'constraint_classifier.': 'fc.',
    'gcn_dim_transform.': 'conv_transform.',
    'guidance_conv.': 'gcn.conv_global.',
    'guidance_bn.': 'gcn.bn_global.',
    'matrix_transform.': 'gcn.conv_create_co_mat.',
    'forward_gcn.weight.': 'gcn.dynamic_weight.',
    'gcn_classifier.': 'last_linear.',
}


def test_matrices_of_the_encoder_start_as_xaviers():
    torch.manual_seed(0)
    widths = dict(embed_dims=16, graph_dims=2, num_heads=2, feedforward_channels=24)
    matrices = [p for p in TDRGHead(3, (5, 6), **widths).encoder.parameters() if p.dim() > 1]
    for matrix in matrices:
        bound = math.sqrt(6 / sum(matrix.shape))
        assert 0.95 * bound < matrix.abs().max() <= bound
    assert len(matrices) % 4 == 0 and matrices  # two of the attention, two after it, in each layer


@pytest.mark.parametrize('older', [False, True])
def test_released_checkpoints_are_converted_whole(older):
    torch.manual_seed(0)
    head = TDRGHead(5, (256, 512), embed_dims=8, graph_dims=6, feedforward_channels=12)
    weights = published_checkpoint(head)
    if older:
        for theirs, before in OLDER.items():
            for name in [name for name in weights if name.startswith(theirs)]:
                weights[name.replace(theirs, before, 1)] = weights.pop(name)
        weights.update({'bottleneck.0.weight': torch.zeros(1), 'bn_position.bias': torch.zeros(1)})
    system, found = convert_published({f'module.{name}': v for name, v in weights.items()})
    assert system is TDRG
    assert system.check(found) == 'TDRG, 5 classes'
    model = system.model_of(found)
    model.load_state_dict(found)
    assert model['head'].mixes_images
    for name, value in head.state_dict().items():
        assert_close(model['head'].state_dict()[name], value)
    stem = weights['features.0.weight' if older else 'layer1.0.weight']
    assert_close(model['backbone'].conv1.weight, stem)
