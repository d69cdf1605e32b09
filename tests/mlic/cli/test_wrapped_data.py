"""Test and validation sets inside ConcatDataset or RepeatDataset, for the commands."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS

from mlic.apis.export import input_size
from mlic.apis.image_inputs import input_pipeline
from mlic.apis.open_run import open_run
from mlic.comparison.feature_configs import store_features
from mlic.comparison.recipes import hold_out, num_views
from mlic.datasets.wrappers import innermost, pipeline_of, transforms_of
from mlic.engine.runner.class_means import prototype_loader_config
from mlic.engine.runner.tta import TTA
from tests.helpers import run_tool
from tests.photo_run import CLASSES, SIZE, make_config

WRAPPERS = {
    'ConcatDataset': "dict(type='ConcatDataset', datasets=[data])",
    'RepeatDataset': "dict(type='RepeatDataset', times=1, dataset=data)",
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """config.py, a config with each wrapper around its data, and best_mAP.pth."""
    folder = tmp_path_factory.mktemp('wrapped')
    cfg = make_config(folder)
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'best_mAP.pth')
    text = (folder / 'config.py').read_text()
    for name, wrapper in WRAPPERS.items():
        wrapped = f'test_dataloader = dict(test_dataloader, dataset={wrapper})\n'
        wrapped += 'val_dataloader = test_dataloader\n'
        (folder / f'{name}.py').write_text(text + wrapped)
    return folder


def predictions(folder, config, tmp_path, *options):
    out = tmp_path / f'{config}.npz'
    run = folder / f'{config}.py', folder / 'best_mAP.pth'
    run_tool('tools/test.py', *run, '--out', out, '--work-dir', tmp_path / config, *options)
    with np.load(out) as file:
        return file['pred']


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_a_split_is_tested_under_a_wrapped_test_sets_pipeline(folder, tmp_path, wrapper, split):
    found, expected = (
        predictions(folder, config, tmp_path, '--split', split) for config in (wrapper, 'config')
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_images_are_predicted_under_a_wrapped_test_sets_pipeline(folder, tmp_path, wrapper):
    scores = []
    for config in (wrapper, 'config'):
        out = tmp_path / config
        options = '--config', folder / f'{config}.py', '--out', out
        run_tool('tools/infer.py', folder / 'photos', '--checkpoint', folder, *options)
        scores.append((out / 'predictions.json').read_text())
    assert len(json.loads(scores[0])) and scores[0] == scores[1]


@pytest.mark.parametrize(
    'wrapper', ['ConcatDataset', pytest.param('RepeatDataset', marks=pytest.mark.slow)]
)
def test_a_model_with_a_wrapped_test_set_is_exported_and_verified(folder, tmp_path, wrapper):
    pytest.importorskip('onnxruntime')
    out = tmp_path / 'model.onnx'
    run = folder / f'{wrapper}.py', folder / 'best_mAP.pth'
    run_tool('tools/deploy/export.py', *run, '--out', out)
    run_tool('tools/deploy/verify.py', *run, out)
    assert input_size(Config.fromfile(folder / f'{wrapper}.py')) == (SIZE, SIZE)


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('tool', ['show_attention', 'report'])
def test_pictures_of_a_wrapped_test_set_are_those_of_the_data_set(folder, tmp_path, wrapper, tool):
    suffix, contents = dict(show_attention='.png', report='.html')[tool], []
    for config in (wrapper, 'config'):
        run = folder / f'{config}.py', folder / 'best_mAP.pth'
        out = tmp_path / config / f'page{suffix}'
        out.parent.mkdir()
        run_tool(f'tools/analysis_tools/{tool}.py', *run, '--out', out)
        contents.append(out.read_bytes().replace(config.encode(), b'config'))
    assert contents[0] == contents[1]


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_a_model_with_a_wrapped_test_set_is_published(folder, tmp_path, wrapper):
    config = '--config', folder / f'{wrapper}.py'
    run_tool('tools/publish_model.py', folder / 'best_mAP.pth', tmp_path, *config)
    assert f'{SIZE} x {SIZE}' in (tmp_path / 'README.md').read_text()


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_prototypes_are_computed_under_a_wrapped_validation_sets_pipeline(folder, wrapper):
    cfg = Config.fromfile(folder / f'{wrapper}.py')
    cfg.train_dataloader.dataset.pipeline = []
    loader = prototype_loader_config(cfg)
    assert [step.type for step in loader.dataset.pipeline][-1] == 'PackInputs'


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_held_out_images_take_the_place_of_wrapped_ones(folder, wrapper):
    cfg = Config.fromfile(folder / f'{wrapper}.py')
    pipeline = pipeline_of(cfg)
    hold_out(cfg, 0.5)
    for split in ('val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (len(dataset.indices), dataset.pipeline) == (3, pipeline)


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_features_of_wrapped_data_are_stored_and_read(folder, tmp_path, wrapper):
    cfg = Config.fromfile(folder / f'{wrapper}.py')
    cfg.train_dataloader = cfg.test_dataloader.copy()
    cfg.model.backbone.frozen_stages = 2
    store_features(cfg, tmp_path, log=lambda line: None)
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert dataset[0]['inputs'].shape[0] == 16 and len(dataset) == 6


def test_views_inside_a_wrapper_are_counted(folder):
    cfg = Config.fromfile(folder / 'RepeatDataset.py')
    steps = [dict(type='MultiView', num_views=2, transforms=[[]])]
    one = dict(cfg.train_dataloader.dataset, pipeline=steps)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=one)
    assert num_views(cfg) == 2


def opened_pipeline(folder, cfg):
    return input_pipeline(open_run(folder / 'best_mAP.pth', cfg).config, TTA())


def test_data_sets_of_several_pipelines_have_none_for_an_image_of_ones_own(folder):
    cfg = Config.fromfile(folder / 'ConcatDataset.py')
    (one,) = cfg.test_dataloader.dataset.datasets
    cfg.test_dataloader.dataset.datasets.append(dict(one, pipeline=one.pipeline[1:]))
    with pytest.raises(ValueError, match='^the data sets in test_dataloader.dataset have several'):
        opened_pipeline(folder, cfg)


def test_a_data_set_without_a_pipeline_is_named(folder):
    cfg = Config.fromfile(folder / 'config.py')
    cfg.test_dataloader.dataset.pop('pipeline')
    with pytest.raises(ValueError, match='test_dataloader.dataset has no pipeline: Multi'):
        opened_pipeline(folder, cfg)


def test_the_transforms_of_a_wrapper_are_those_of_its_data_sets(folder):
    cfg = Config.fromfile(folder / 'ConcatDataset.py')
    (one,) = cfg.test_dataloader.dataset.datasets
    one.pipeline.insert(1, dict(type='CenterCrop', crop_size=20))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    names = ['LoadImageStrict', 'CenterCrop', 'Resize', 'PackInputs']
    assert [type(step).__name__ for step in transforms_of(dataset)] == names
    assert innermost(dataset) is dataset.datasets[0]
