"""The config of docs/datasets.md loads, fits a data set of COCO's form, and trains."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from mlic.datasets.coco import COCOMultiLabel
from tests.dataset_files import write_image
from tests.helpers import ROOT, code_of

(LEAF,) = [code for code in code_of('docs/datasets.md', 'python') if '_base_ =' in code]


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """The document's config in a folder with the bases, and two images of each split."""
    folder = tmp_path / 'configs' / 'sadcl'
    folder.mkdir(parents=True)
    for name in ('configs/_base_', 'configs/sadcl/_base_'):
        (tmp_path / name).symlink_to(ROOT / name)
    path = folder / 'sadcl_efficientnet-lite0_coco224.py'
    path.write_text(LEAF)
    names = COCOMultiLabel.METAINFO['classes']
    for split in ('train2017', 'val2017'):
        images = [dict(id=i, file_name=f'{i}.jpg', height=60, width=80) for i in range(2)]
        for image in images:
            write_image(tmp_path / 'data/coco' / split / image['file_name'], (60, 80))
        content = dict(
            images=images,
            categories=[dict(id=i, name=name) for i, name in enumerate(names)],
            annotations=[
                dict(id=i, image_id=i, category_id=category, iscrowd=0)
                for i, category in enumerate((0, 16))
            ],
        )
        file = tmp_path / 'data/coco/annotations' / f'instances_{split}.json'
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmpretrain')
    return Config.fromfile(path)


def test_the_leaf_of_the_document_has_at_most_twelve_lines():
    assert len([line for line in LEAF.splitlines() if line.strip()]) <= 12


@pytest.mark.slow
def test_the_leaf_of_the_document_trains_and_predicts(cfg):
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    batches = {}
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        assert loader.sampler.shuffle == (split == 'train') and loader.batch_size == 32
        dataset = DATASETS.build(loader.dataset)
        assert dataset.test_mode == (split != 'train')
        batches[split] = default_collate([dataset[0], dataset[1]])
        assert batches[split]['inputs'].shape == (2, 3, 224, 224)
    losses = model.train()(**model.data_preprocessor(batches['train'], True), mode='loss')
    assert losses.keys() == {'loss_cls', 'loss_sscl', 'loss_pscl'}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.head.parameters())
    with torch.no_grad():
        samples = model.eval()(**model.data_preprocessor(batches['test']), mode='predict')
    assert [sample.gt_label.tolist() for sample in samples] == [[0], [16]]
    assert all(sample.pred_score.shape == (80,) for sample in samples)
    assert (cfg.data_preprocessor.mean[0], cfg.data_preprocessor.std[0]) == (127, 128)


def test_what_the_document_leaves_out_follows(cfg):
    assert 'end' not in cfg.param_scheduler[0]  # the last epoch
    average, start = cfg.custom_hooks
    assert average.horizon == 0.1 and 'momentum' not in average
    assert (start.type, start.begin, cfg.train_cfg.max_epochs) == ('PrototypeHook', 5, 6)
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
