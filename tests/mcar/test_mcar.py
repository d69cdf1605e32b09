"""MCAR against loops and recordings. B images, C classes, K channels, R regions, n numbers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.apis.model_outputs import predict_with_attention
from mlic.engine.checkpoints.published import convert_published
from mlic.engine.runner.tta import parse_tta
from mlic.models.layers.activated_regions import boxes_of, crops_of, intervals, scaled
from projects.mcar.mcar_classifier import MCARClassifier
from projects.mcar.mcar_head import MCARHead
from projects.mcar.published_weights import MCAR, NAMES
from tests.helpers import call_tool, recorded
from tests.peer_recordings import PeerRecording, sequential_resnet
from tests.tiny_runs import every_model, write_run

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
LAYERS = {  # the recording's backbone: a convolution, and the first of a block
    'features.0.weight': 'backbone.0.weight',
    'features.0.bias': 'backbone.0.bias',
    'features.7.1.conv1.weight': 'backbone.2.weight',
    'features.7.1.conv1.bias': 'backbone.2.bias',
    'convclass.weight': 'head.fc.weight',
    'convclass.bias': 'head.fc.bias',
}


class Maps(nn.Sequential):
    """Layers that give a tuple, as a backbone does."""

    def forward(self, inputs):
        return (super().forward(inputs),)


def tiny(channels=5, stride=8, num_classes=4, seed=0, **head):
    """A classifier on a convolution of patches and another, in float64 and evaluation mode."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, channels, stride, stride), nn.ReLU()
    layers += nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()
    head = dict(type='MCARHead', num_classes=num_classes, in_channels=channels, **head)
    return MCARClassifier(backbone=Maps(*layers), head=head).double().eval()


def recorded_model():
    recording = PeerRecording('mcar')
    patch = recording['sd.features.0.weight']
    made = recorded('peers/index.json')['mcar']
    head = dict(num_regions=made['topN'], threshold=made['threshold'], pooling=made['pooling'])
    model = tiny(len(patch), patch.shape[-1], recording['target'].shape[1], **head)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    weights = {LAYERS[name]: value for name, value in recording.weights().items()}
    model.load_state_dict({k: v.reshape(shapes[k]) for k, v in weights.items()})
    return model, recording


def images_of(size=(32, 40), count=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator).double()


# --- from the formulas -------------------------------------------------------------------------


def interval_by_loops(profile, threshold=0.5):
    """A list of numbers → begin and end."""
    n = len(profile)
    sides = [0 if abs(v - threshold) < 1e-12 else math.copysign(1, v - threshold) for v in profile]
    cuts = [i for i in range(n - 1) if sides[i] * sides[i + 1] == -1]
    size = math.ceil(n / 8)
    if not cuts:
        return min(size, n - 1), math.ceil(7 * n / 8)
    parts = [(0, cuts[0]), (cuts[-1], n), *zip(cuts, cuts[1:])]
    parts = [(begin, end) for begin, end in parts if begin < end]
    begin, end = max(parts, key=lambda part: (max(profile[slice(*part)]), part[1] - part[0]))
    if end - begin <= size:
        missing = size - (end - begin)
        half = math.ceil(missing / 2)
        if begin > half and n - end > missing:
            begin, end = begin - half + 1, end + half
        if begin < half:
            begin, end = 0, size
        if n - end < half:
            begin, end = n - size + 1, n
    return min(begin, end - 1), end


@pytest.mark.parametrize('n', [1, 2, 7, 8, 9, 16, 33, 64])
@pytest.mark.parametrize('levels', [3, 5, 1000])
def test_an_interval_equals_loops(n, levels):
    """With few levels many numbers are equal to each other and to the threshold."""
    generator = torch.Generator().manual_seed(n)
    steps = torch.randint(0, levels, (200, n), generator=generator).double()
    smooth = steps.cumsum(1) % levels
    for profiles in (steps / (levels - 1), smooth / (levels - 1)):
        begin, end = intervals(profiles)
        assert list(zip(begin.tolist(), end.tolist())) == [
            interval_by_loops(row) for row in profiles.tolist()
        ]
        assert (begin >= 0).all() and (begin < end).all() and (end <= n).all()


def test_a_constant_profile_has_the_middle_whatever_rounding_makes_of_it():
    for dtype in (torch.float32, torch.float64):
        profile = torch.full((1, 64), 0.3, dtype=dtype)
        profile[0, 20] += torch.finfo(dtype).eps
        for case in (profile, torch.zeros_like(profile)):
            values, rounding = scaled(case)
            assert values.eq(1).all()
            assert [int(side) for side in intervals(values, 0.5, rounding)] == [8, 56]


@pytest.mark.parametrize('low,high', [(0.0, 1.0), (0.52, 0.53)])
def test_a_number_that_equals_the_threshold_but_for_rounding_hides_a_cut(low, high):
    for dtype in (torch.float32, torch.float64):
        for nudge in (0, -1, 1):
            profile = torch.linspace(high, low, 65, dtype=dtype)[None]
            profile[0, 32] += nudge * torch.finfo(dtype).eps * high
            values, rounding = scaled(profile)
            assert [int(side) for side in intervals(values, 0.5, rounding)] == [9, 57]  # no cut
            assert rounding < 1e-3


def scores_by_loops(model, images, regions):
    """(B, C) each of the logits of the images and of their regions."""
    head, found = model.head, []

    def pool(feature_map):
        mean, most = feature_map.mean((1, 2)), feature_map.amax((1, 2))
        return dict(avg=mean, max=most, gwp=(mean + most) / 2)[head.pooling]

    def classify(vectors):
        return vectors @ head.fc.weight[:, :, 0, 0].T + head.fc.bias

    def logits(image):
        return classify(pool(model.backbone(image[None])[0][0]))

    for image in images:
        whole = logits(image)
        activation = classify(model.backbone(image[None])[0][0].permute(1, 2, 0)).sigmoid()
        maps = F.interpolate(
            activation.permute(2, 0, 1)[None], image.shape[1:], mode='bilinear', align_corners=True
        )[0]
        crops = []
        for label in whole.argsort(descending=True)[:regions]:
            sides = []
            for axis in (0, 1):
                profile = maps[label].amax(axis)
                profile = (profile - profile.min()) / (profile.max() - profile.min())
                sides.append(slice(*interval_by_loops(profile.tolist())))
            crop = image[None, :, sides[1], sides[0]]
            size = image.shape[1:]
            crop = F.interpolate(crop, size, mode='bilinear', align_corners=True)
            crops.append(logits(crop[0]))
        found.append((whole, torch.stack(crops).amax(0)))
    return [torch.stack(score) for score in zip(*found)]


@pytest.mark.parametrize('pooling,regions', [('avg', 4), ('max', 2), ('gwp', 9)])
def test_scores_equal_loops(pooling, regions):
    model, images = tiny(pooling=pooling, num_regions=regions), images_of()
    with torch.no_grad():
        whole, local = scores_by_loops(model, images, regions)
        scores = model.head.scores(model.extract_feat(images))
        assert_close(scores, {'global': whole, 'local': local}, **EXACT)
        predicted = model(images)
    assert_close(predicted.sigmoid(), torch.maximum(whole.sigmoid(), local.sigmoid()), **EXACT)
    assert (local > whole).any()
    assert (local < whole).any()


def test_crops_are_those_of_interpolation():
    images = images_of((32, 48))
    boxes = torch.tensor([[[0, 48, 0, 32], [3, 4, 30, 32]], [[40, 48, 0, 1], [5, 29, 7, 20]]])
    expected = [
        F.interpolate(
            images[i : i + 1, :, y1:y2, x1:x2], (32, 48), mode='bilinear', align_corners=True
        )
        for i, rows in enumerate(boxes.tolist())
        for x1, x2, y1, y2 in rows
    ]
    assert_close(crops_of(images, boxes), torch.cat(expected), **EXACT)
    half = crops_of(images.bfloat16(), boxes)
    assert half.dtype == torch.bfloat16
    assert_close(half.double(), torch.cat(expected), rtol=0.02, atol=0.02)


# --- recordings --------------------------------------------------------------------------------


def test_intervals_are_those_of_the_released_code():
    recording = PeerRecording('mcar')
    found = intervals(recording.double('obj_loc.score'), float(recording['obj_loc.threshold']))
    ran = recording['obj_loc.range'][:, 0] != -9  # else the released code raised
    assert torch.equal(torch.stack(found, 1)[ran], recording['obj_loc.range'][ran])


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('dtype,suffix', [(torch.float64, '.f64'), (torch.float32, '.f32')])
def test_boxes_scores_and_losses_are_those_of_the_released_code(mode, dtype, suffix):
    model, recording = recorded_model()
    model, images = model.to(dtype).train(mode == 'train'), recording['image'].to(dtype)
    boxes = model.head.locate(model.extract_feat(images, 'backbone'), images.shape[-2:])
    assert torch.equal(boxes, recording[f'{mode}.boxes{suffix}'][..., :4].long())
    feats = model.extract_feat(images)
    scores = model.head.scores(feats)
    for name, value in dict(scores, pred=model.head.fuse(scores)).items():
        recording.check(value.sigmoid(), f'{mode}.{name}{suffix}')
    losses = model.loss(images, recording.samples())
    for name in ('global', 'local'):
        recording.check(losses[f'loss_{name}'], f'{mode}.loss.{name}{suffix}')
    recording.check(sum(losses.values()), f'{mode}.loss.total{suffix}')


def test_gradients_are_those_of_the_released_code():
    model, recording = recorded_model()
    sum(model.train().loss(recording.double('image'), recording.samples()).values()).backward()
    ours = dict(model.named_parameters())
    recording.check_gradients(
        {k: ours[name].grad.reshape(recording[f'sd.{k}'].shape) for k, name in LAYERS.items()}
    )


# --- what the toolkit asks of it ---------------------------------------------------------------


def test_batch_norm_sees_the_images_and_then_all_their_regions():
    model = MODELS.build(every_model(10)['mcar']).train()
    seen, norm = [], model.backbone.bn1
    norm.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    model(torch.randn(3, 3, 64, 64))
    assert seen == [3, 12]
    assert norm.num_batches_tracked == 2


def test_a_picture_with_maps_has_the_scores_of_both_looks():
    model = MODELS.build(every_model(10)['mcar']).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample(), DataSample()]
    with torch.no_grad():
        expected = model(images.float()).sigmoid()
    found = predict_with_attention(model, dict(inputs=images, data_samples=samples))
    assert_close(torch.stack([sample.pred_score for sample in found]), expected)
    assert found[0].attention.shape == (10, 2, 2)
    assert ((found[0].attention >= 0) & (found[0].attention <= 1)).all()


def test_views_of_an_image_are_averaged():
    model, tta = MODELS.build(every_model(10)['mcar']), parse_tta('flip scales=64,96')
    tta.check_model(model)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        views = [images.float(), images.float().flip(3)]
        expected = torch.stack([model(view).sigmoid() for view in views]).mean(0)
    batch = dict(inputs=images, data_samples=[DataSample(), DataSample()])
    found = parse_tta('flip').predict(model, [batch])
    assert_close(torch.stack([sample.pred_score for sample in found]), expected)


def test_boxes_are_those_of_float32_in_lower_precision():
    head = MCARHead(4, 5)
    feats = (torch.randn(2, 5, 4, 4),)
    with torch.autocast('cpu', torch.bfloat16):
        boxes = head.locate(feats, (64, 64))
    assert torch.equal(boxes, head.locate(feats, (64, 64)))


def test_it_is_not_exported(tmp_path):
    config, out = write_run(tmp_path, every_model(10)['mcar'], test_cfg={}), tmp_path / 'model.pt2'
    arguments = [config, tmp_path / 'best_mAP.pth', '--out', out, '--format', 'torch-export']
    message = call_tool('tools/deploy/export.py', *arguments)
    assert 'not exported: model (MCARClassifier): it looks again at the regions' in message
    assert not out.exists()


@pytest.mark.parametrize(
    'change,message',
    [
        (dict(backbone=dict(type='StoredFeatures')), 'no stored features: train with'),
        (dict(head=dict(pooling='sum')), "pooling must be one of avg, max, gwp, got 'sum'"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    model = copy.deepcopy(every_model(10)['mcar'])
    model['backbone'] = change.get('backbone', model['backbone'])
    model['head'].update(change.get('head', {}))
    with pytest.raises(ValueError, match=message):
        MODELS.build(model)


def test_a_head_without_its_classifier_says_so():
    model = MODELS.build(dict(every_model(10)['mcar'], type='ImageClassifier'))
    assert isinstance(model, BaseModel)
    with pytest.raises(ValueError, match="set the config's model.type to 'MCARClassifier'"):
        model(torch.randn(1, 3, 64, 64))


def test_released_checkpoints_are_converted_whole():
    weights, _ = sequential_resnet()
    weights['convclass.weight'] = torch.randn(5, 512, 1, 1)
    weights['convclass.bias'] = torch.randn(5)
    system, found = convert_published({f'module.{name}': v for name, v in weights.items()})
    assert system is MCAR
    assert system.check(found) == 'MCAR, 5 classes'
    system.model_of(found).load_state_dict(found)
    assert NAMES.theirs('head.fc.bias') == 'convclass.bias'


def test_boxes_of_maps_have_their_columns_first():
    maps = torch.zeros(1, 1, 32, 64)
    maps[0, 0, 8:24, 40:60] = 1
    assert boxes_of(maps).tolist() == [[[39, 59, 7, 23]]]
