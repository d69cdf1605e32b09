"""Test-time augmentation: the scores of views are averaged, and labels decided by the mean."""

import copy
import re
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.engine.runner.evaluation_loops import evaluation_loop
from mlic.engine.runner.precision import autocast_to, predict_on_host
from mlic.engine.runner.tool_runners import ConsoleRunner
from mlic.engine.runner.tta import TTA, parse_tta
from mlic.evaluation.predictions import read_tta
from tests.helpers import ROOT, run_process
from tests.step_counter import StepCounter
from tests.tiny_runs import RESNET, every_model, plain_model, tiny_config

CLASSES, BATCH = 10, 4
HEADS = every_model(CLASSES)
VIT = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
PREPROCESSOR = dict(type='MultiLabelDataPreprocessor', num_classes=CLASSES, to_onehot=True)


def built(config, seed=0, **head):
    """A model with random weights, which predicts on the host."""
    config = copy.deepcopy(config)
    config['head'].update(head)
    init_default_scope('mmpretrain')
    torch.manual_seed(seed)
    preprocessor = dict(PREPROCESSOR, mean=[127], std=[64])
    model = MODELS.build(dict(config, data_preprocessor=preprocessor))
    model.init_weights()
    for parameter in model.head.parameters():  # scores that are not all one half
        nn.init.normal_(parameter, std=0.5)
    predict_on_host(model)
    return model.eval()


def batch_of(side=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8, generator=generator)
    return dict(
        inputs=images, data_samples=[DataSample().set_gt_label([k, 5]) for k in range(BATCH)]
    )


def views_of(batches, flip):
    """The images of each view, by a loop."""
    for batch in batches:
        yield batch['inputs']
        if flip:
            yield torch.stack([image[:, :, torch.arange(image.shape[2] - 1, -1, -1)]
                               for image in batch['inputs']])  # fmt: skip


def oracle(model, batches, flip):
    """Mean of the scores (B, C) of ordinary predictions of each view, and the views' own labels."""
    scores, labels = [], []
    for inputs in views_of(batches, flip):
        samples = model.test_step(dict(inputs=inputs, data_samples=[DataSample() for _ in inputs]))
        scores.append(torch.stack([sample.pred_score for sample in samples]))
        labels.append([sample.pred_label.tolist() for sample in samples])
    return sum(scores) / len(scores), labels


# ---------------------------------------------------------------- the words


@pytest.mark.parametrize(
    'text, flip, scales, views',
    [
        (None, False, (), 1),
        ('', False, (), 1),
        ('flip', True, (), 2),
        ('scales=448,576', False, (448, 576), 2),
        ('scales=448 flip', True, (448,), 2),
        (['flip', 'scales=448,576'], True, (448, 576), 4),
    ],
)
def test_what_is_asked_for(text, flip, scales, views):
    tta = parse_tta(text)
    assert (tta.flip, tta.scales, tta.num_views) == (flip, scales, views)
    assert bool(tta) is bool(text)
    assert parse_tta(str(tta)) == parse_tta(tta) == tta


@pytest.mark.parametrize(
    'text, fault',
    [
        (True, 'True is not a test-time augmentation'),
        ('flop', 'flop is not a test-time augmentation'),
        ('flip photos', 'photos is not a test-time augmentation'),
        ('flip flip', 'flip is one too many'),
        ('scales=448 scales=576', 'scales=576 is one too many'),
        ('scales=448,448', 'scales=448,448: a scale is given twice'),
        *((f'scales={x}', 'not a test-time augmentation') for x in ('', '0', '-1', '1.5', '448,')),
    ],
)
def test_anything_else_is_refused_in_one_line(text, fault):
    with pytest.raises(ValueError, match=re.escape(fault)) as error:
        parse_tta(text)
    assert '\n' not in str(error.value)


# ---------------------------------------------------------------- the pipeline

LOAD, PACK = dict(type='LoadImageStrict'), dict(type='PackInputs')
EDGE = dict(type='ResizeEdge', scale=256, edge='short')
CROP = dict(type='CenterCrop', crop_size=224)


def resize(*scale, **options):
    return dict(type='Resize', scale=scale, **options)


@pytest.mark.parametrize(
    'own, at_448',
    [
        ([resize(224, 224)], [resize(448, 448)]),
        ([dict(type='Resize', scale=224)], [dict(type='Resize', scale=448)]),
        (
            [dict(type='mmcv.Resize', scale=[224, 224])],
            [dict(type='mmcv.Resize', scale=(448, 448))],
        ),
        ([EDGE], [dict(EDGE, scale=448)]),
        ([EDGE, CROP], [dict(EDGE, scale=512), dict(CROP, crop_size=448)]),
        ([resize(256, 256), CROP], [resize(512, 512), dict(CROP, crop_size=448)]),
        # what comes before is in pixels of the image itself, or is resized anyway
        ([CROP, resize(112, 112), resize(224, 224)], [resize(448, 448)]),
    ],
)
def test_the_last_resize_and_the_crop_after_it_take_the_scale(own, at_448):
    pipeline = [LOAD, *own, PACK]
    before = copy.deepcopy(pipeline)
    *shared, views = parse_tta('scales=448,224').pipeline(pipeline)
    assert pipeline == before
    assert shared == pipeline[: len(pipeline) - 1 - len(at_448)]
    assert views['type'] == 'TestTimeAug'
    ((large, same),) = views['transforms']
    assert large == dict(type='Compose', transforms=[*at_448, PACK])
    init_default_scope('mmpretrain')
    results = dict(img=np.zeros((300, 500, 3), np.uint8), gt_label=[1])
    (first, second), samples = TRANSFORMS.build(views)(results).values()
    assert min(first.shape[1:]) == 448 and min(second.shape[1:]) == 224
    assert [sample.gt_label.tolist() for sample in samples] == [[1], [1]]


def test_a_large_jpeg_is_decoded_with_enough_pixels_for_the_largest_view():
    pipeline = [dict(LOAD, reduce_to=448), resize(448, 448), PACK]
    assert parse_tta('scales=224,896').pipeline(pipeline)[0]['reduce_to'] == 896
    assert parse_tta('scales=224').pipeline(pipeline)[0]['reduce_to'] == 448


@pytest.mark.parametrize(
    'own, fault',
    [
        ([], 'has no Resize or ResizeEdge whose size could change: put dict'),
        ([CROP], 'has no Resize or ResizeEdge'),
        ([dict(type='torchvision/Resize', size=224)], 'has no Resize or ResizeEdge'),
        ([resize(320, 240)], 'Resize of the test pipeline gives (320, 240)'),
        ([dict(type='Resize', scale_factor=0.5)], 'Resize of the test pipeline gives None'),
        ([EDGE, dict(CROP, crop_size=(224, 200))], 'CenterCrop of the test pipeline gives (224,'),
        ([EDGE, dict(type='Pad', size=(256, 256))], 'what size Pad has to give is not known'),
        ([EDGE, dict(type='TenCrop')], 'what size TenCrop has to give is not known'),
    ],
)
def test_a_pipeline_whose_scale_is_not_known_is_refused_in_one_line(own, fault):
    with pytest.raises(ValueError, match=re.escape(fault)) as error:
        parse_tta('scales=448').pipeline([LOAD, *own, PACK])
    assert '\n' not in str(error.value)
    assert parse_tta('flip').pipeline([LOAD, *own, PACK]) == [LOAD, *own, PACK]


@pytest.mark.parametrize('path', sorted((ROOT / 'configs/_base_/datasets').glob('*.py')), ids=str)
def test_every_data_set_of_the_house_takes_scales(path):
    dataset = Config.fromfile(path).get('test_dataloader', {}).get('dataset')
    if dataset and 'type' in dataset:  # else a base of several data sets
        found = parse_tta('scales=64,96').dataset(dataset)
        assert found.pipeline[-1].type == 'TestTimeAug'
        views = [x.transforms for x in found.pipeline[-1].transforms[0]]
        last = [next(t for t in reversed(view) if t.type != 'PackInputs') for view in views]
        sides = [t.crop_size if t.type == 'CenterCrop' else t.scale for t in last]
        assert sides in ([64, 96], [(64, 64), (96, 96)])


def test_scales_of_images_that_are_not_resized_say_what_to_do():
    with pytest.raises(ValueError, match=r"put dict\(type='Resize', scale=\(S, S\)\) into it"):
        parse_tta('scales=64').dataset(dict(type='DigitScenes', pipeline=[dict(type='PackInputs')]))


def test_data_sets_inside_others_get_the_views():
    one = dict(type='MultiLabelDataset', pipeline=[LOAD, resize(32, 32), PACK])
    cfg = ConfigDict(type='ConcatDataset', datasets=[one, dict(type='Repeat', dataset=one)])
    first, second = parse_tta('scales=64').dataset(cfg).datasets
    for dataset in (first, second.dataset):
        assert dataset.pipeline[-1].type == 'TestTimeAug'
    assert cfg.datasets[0].pipeline[-1].type == 'PackInputs'


# ---------------------------------------------------------------- the scores


@pytest.mark.parametrize('text', ['flip', 'scales=64,96', 'flip scales=96,64'])
@pytest.mark.parametrize('name', HEADS)
@torch.no_grad()
def test_scores_are_the_mean_of_those_of_the_views(name, text):
    tta, model = parse_tta(text), built(HEADS[name], thr=0.5)
    batches = [batch_of(side, seed=1) for side in tta.scales or (64,)]
    expected, of_views = oracle(model, batches, tta.flip)
    together = batches[0]
    if tta.scales:
        together = {key: [batch[key] for batch in batches] for key in together}
    samples = tta.predict(model, tta.batches(together))
    scores = torch.stack([sample.pred_score for sample in samples])
    assert_close(scores, expected)
    assert (scores - model.test_step(batch_of(64, 1))[0].pred_score).abs().max() > 1e-3
    for k, (sample, row) in enumerate(zip(samples, expected)):
        assert sample.pred_label.tolist() == (row >= 0.5).nonzero().flatten().tolist()
        assert sample.gt_score.nonzero().flatten().tolist() == sorted({k, 5})


@torch.no_grad()
def test_labels_are_decided_after_averaging():
    """Not those of the first view, nor those that all or any of the views have."""
    tta, model = TTA(flip=True), built(HEADS['baseline'], thr=0.5)
    together = unlike_first = unlike_all = unlike_any = 0
    for seed in range(8):
        batch = batch_of(seed=seed)
        _, (first, second) = oracle(model, [batch], True)
        for sample, one, two in zip(tta.predict(model, [batch]), first, second):
            labels = set(sample.pred_label.tolist())
            together += len(labels)
            unlike_first += labels != set(one)
            unlike_all += labels != {*one} & {*two}
            unlike_any += labels != {*one} | {*two}
    assert together and unlike_first and unlike_all and unlike_any


@torch.no_grad()
def test_the_best_so_many_are_the_best_of_the_mean():
    tta, model = TTA(flip=True), built(HEADS['baseline'], thr=None, topk=3)
    batch = batch_of()
    expected, _ = oracle(model, [batch], True)
    for sample, row in zip(tta.predict(model, [batch]), expected):
        assert sample.pred_label.tolist() == row.argsort(descending=True)[:3].tolist()


@torch.no_grad()
def test_images_of_a_list_are_padded_after_they_are_mirrored():
    model = built(HEADS['baseline'])
    model.data_preprocessor.pad_size_divisor = 64
    batch = batch_of(48)
    expected, _ = oracle(model, [batch], True)
    listed = dict(batch, inputs=list(batch['inputs']))
    for data in (batch, listed):
        samples = TTA(flip=True).predict(model, [data])
        assert_close(torch.stack([sample.pred_score for sample in samples]), expected)


@pytest.mark.parametrize('name', HEADS)
@torch.no_grad()
def test_the_views_of_a_batch_take_one_copy_to_the_host(name):
    model, tta = built(HEADS[name]), TTA(True, (64, 96))
    batches = [batch_of(64), batch_of(96)]
    with StepCounter(model) as counter:
        samples = tta.predict(model, batches)
        torch.stack([sample.gt_score for sample in samples]).numpy()
        torch.stack([sample.pred_score for sample in samples]).numpy()
    assert sum(counter.waits.values()) == 1, counter.waits


@torch.no_grad()
def test_in_a_lower_precision_scores_are_averaged_in_float32():
    model, tta = built(HEADS['sadcl']), TTA(flip=True)
    exact = torch.stack([s.pred_score for s in tta.predict(model, [batch_of()])])
    with autocast_to('bfloat16', model):
        expected, _ = oracle(model, [batch_of()], True)
        scores = torch.stack([s.pred_score for s in tta.predict(model, [batch_of()])])
    assert scores.dtype == torch.float32 and not torch.equal(scores, exact)
    assert_close(scores, expected)


# ---------------------------------------------------------------- models


def fixed(**backbone):
    neck = dict(type='GlobalAveragePooling', dim=1)
    head = dict(type='MultiLabelLinearClsHead', in_channels=16, num_classes=CLASSES)
    return dict(plain_model(CLASSES), backbone=backbone, neck=neck, head=head)


def test_a_backbone_of_a_fixed_size_refuses_other_scales_in_one_line():
    mixer = dict(num_layers=1, embed_dims=16, tokens_mlp_dims=8, channels_mlp_dims=16)
    model = built(fixed(type='MlpMixer', arch=mixer, img_size=64, patch_size=16))
    TTA(True, (64,)).check_model(model)
    with pytest.raises(ValueError, match=r'MlpMixer, .* takes no image of 96 x 96 pixels') as error:
        TTA(False, (64, 96)).check_model(model)
    assert '\n' not in str(error.value)


def test_positions_of_a_transformer_are_made_for_every_scale():
    settings = dict(img_size=64, patch_size=16, out_type='avg_featmap')
    vit = dict(fixed(type='VisionTransformer', arch=VIT, **settings), neck=None)
    tta, model = TTA(True, (64, 96)), built(vit)
    tta.check_model(model)
    batches = [batch_of(64), batch_of(96)]
    expected, _ = oracle(model, batches, True)
    assert_close(torch.stack([s.pred_score for s in tta.predict(model, batches)]), expected)


def test_a_trial_of_the_scales_changes_nothing():
    model = built(HEADS['sadcl']).train()
    before = copy.deepcopy(model.state_dict())
    TTA(True, (64, 96)).check_model(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    TTA().check_model(nn.Linear(2, 2))  # nothing is asked for


class OwnHead(MultiLabelLinearClsHead):
    """Decides in a way of its own."""

    def _get_predictions(self, cls_score, data_samples):
        return data_samples


def test_what_cannot_be_averaged_is_refused():
    model = built(HEADS['baseline'])
    model.head = OwnHead(CLASSES, 64)
    with pytest.raises(ValueError, match='OwnHead decides differently'):
        TTA(flip=True).check_model(model)
    model = built(dict(HEADS['baseline'], backbone=dict(type='StoredFeatures')))
    with pytest.raises(ValueError, match='stored features are of one view'):
        TTA(flip=True).check_model(model)
    with pytest.raises(ValueError, match='test_cfg.type Own does not support --tta flip: remove'):
        evaluation_loop(dict(type='Own'), 'test', Config(), TTA(flip=True))


# ---------------------------------------------------------------- runs


def run_of(tmp_path, **dataset):
    """A runner of random weights on digit scenes, resized to 64 px."""
    cfg = tiny_config(tmp_path)
    cfg.model = dict(plain_model(CLASSES), backbone=RESNET)
    data = cfg.test_dataloader.dataset
    data.update(pipeline=[resize(64, 64), PACK], **dataset)
    cfg.test_evaluator = dict(type='MLICMetric', out_file=str(tmp_path / 'p.npz'))
    cfg.custom_hooks = []
    return cfg


def test_unknown_labels_stay_unknown_and_the_file_says_which_augmentation(tmp_path):
    cfg = run_of(tmp_path, type='HideLabels', of='DigitScenes', share=0.4)
    runner = ConsoleRunner.from_cfg(cfg)
    runner.tta = TTA(True, (64, 96))
    runner.test()
    assert read_tta(tmp_path / 'p.npz') == 'flip scales=64,96'
    images = []
    for side in (64, 96):
        pipeline = [resize(side, side), PACK]
        dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=pipeline))
        images.append(default_collate([dataset[k] for k in range(len(dataset))]))
    expected, _ = oracle(runner.model.eval(), images, True)
    with np.load(tmp_path / 'p.npz') as saved:
        assert_close(torch.from_numpy(saved['pred']), expected, rtol=0, atol=1e-6)  # other batches
        samples = images[0]['data_samples']
        for key, labels in dict(target='gt_label', unknown='gt_label_unknown').items():
            rows = [np.flatnonzero(row).tolist() for row in saved[key]]
            assert rows == [list(map(int, sample.get(labels))) for sample in samples] != [[]] * 12


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_predict_what_one_does(tmp_path):
    files = []
    for processes in (1, 2):
        cfg = run_of(tmp_path, num_images=13)  # the sampler repeats an image
        cfg.test_dataloader.batch_size = 4
        folder = tmp_path / str(processes)
        folder.mkdir()
        cfg.test_evaluator = dict(type='MLICMetric')
        cfg.dump(tmp_path / 'config.py')
        if processes == 1:
            torch.manual_seed(0)
            state = MODELS.build(cfg.model).state_dict()
            torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
        files.append(folder / 'p.npz')
        command = [ROOT / 'tools/dist_test.sh', tmp_path / 'config.py', tmp_path / 'weights.pth']
        options = ['--tta', 'flip', 'scales=64,96', '--out', files[-1], '--work-dir', folder]
        if processes == 1:
            command = [sys.executable, ROOT / 'tools/test.py', *command[1:]]
        else:
            command.append(2)
        result = run_process(*command, *options, cwd=tmp_path, PORT='29731')
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
        assert result.stdout.count('test-time augmentation: flip scales=64,96') == 1
    with np.load(files[0]) as one, np.load(files[1]) as two:
        assert one['pred'].shape == (13, CLASSES)
        assert str(one['tta']) == str(two['tta'])
        assert_close(two['pred'], one['pred'], rtol=0, atol=1e-6)
        assert np.array_equal(two['target'], one['target'])
