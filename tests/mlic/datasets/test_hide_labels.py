"""A data set a share of whose labels is hidden, and what a pipeline keeps of it."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS, TRANSFORMS

import mlic  # noqa: F401  registers them
from mlic.engine.runner.class_means import build_prototype_loader
from tests.helpers import ROOT

IMAGES, CLASSES = 200, 10
PIPELINE = [dict(type='PackInputs')]


@DATASETS.register_module()
class SomeLabels(BaseDataset):
    """Images of one colour with labels that are drawn."""

    METAINFO = dict(classes=tuple('abcdefghij'))

    def __init__(self, **kwargs):
        super().__init__(ann_file='', serialize_data=False, **kwargs)  # which collects garbage

    def load_data_list(self):
        target = np.random.default_rng(5).random((IMAGES, CLASSES)) < 0.3
        return [
            dict(img=np.full((4, 4, 3), i, np.uint8), gt_label=np.flatnonzero(row).tolist())
            for i, row in enumerate(target)
        ]


def hidden(share, hide_seed=0, **settings):
    settings = dict(of='SomeLabels', share=share, hide_seed=hide_seed, **settings)
    return DATASETS.build(dict(type='HideLabels', **settings))


def entries(dataset):
    """Known presences and unknown entries, as sets of (image, class)."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return tuple(
        {(i, label) for i, info in enumerate(infos) for label in info.get(key, ())}
        for key in ('gt_label', 'gt_label_unknown')
    )


def test_a_hidden_label_is_unknown_whatever_it_was():
    present, _ = entries(SomeLabels())
    known, unknown = entries(hidden(0.3))
    assert known == present - unknown
    assert unknown & present and unknown - present


@pytest.mark.parametrize('share', [0.0, 0.1, 0.6, 1.0])
def test_positives_and_negatives_are_hidden_alike(share):
    present, _ = entries(SomeLabels())
    _, unknown = entries(hidden(share))
    total = IMAGES * CLASSES
    for some, size in (
        (unknown & present, len(present)),
        (unknown - present, total - len(present)),
    ):
        deviation = 3 * np.sqrt(share * (1 - share) / size)  # of a share that is drawn
        assert abs(len(some) / size - share) <= deviation


def test_what_is_hidden_depends_on_seed_and_share_alone():
    first, again, other = (entries(hidden(0.3, seed))[1] for seed in (0, 0, 1))
    assert first == again != other
    assert first < entries(hidden(0.6))[1]


def test_items_are_those_of_the_data_set_and_their_labels_those_of_its_infos():
    plain, dataset = SomeLabels(pipeline=PIPELINE), hidden(0.3, pipeline=PIPELINE)
    assert len(dataset) == IMAGES
    assert dataset.metainfo == plain.metainfo and dataset.CLASSES == plain.CLASSES
    for index in (0, 7):
        item, info = dataset[index], dataset.get_data_info(index)
        assert torch.equal(item['inputs'], plain[index]['inputs'])
        assert item['data_samples'].gt_label.tolist() == info['gt_label']
        assert item['data_samples'].gt_label_unknown == info['gt_label_unknown']


def test_unknown_labels_of_the_data_set_stay_unknown():
    dataset = hidden(0.2)
    info = dataset.source.get_data_info(0)
    info = {**info, 'gt_label': [1, 2], 'gt_label_unknown': [9]}
    found = dataset._hide(info, 0)
    assert 9 in found['gt_label_unknown']
    assert set(found['gt_label']) == {1, 2} - set(found['gt_label_unknown'])


def test_the_labels_of_prototypes_are_hidden_too():
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/digits128.py')
    cfg.train_dataloader.num_workers = 0
    scenes = dict(num_images=8, image_size=32)
    change = dict(type='HideLabels', of='DigitScenes', share=0.5, **scenes)
    cfg.train_dataloader.dataset.update(change)
    (batch,) = build_prototype_loader(cfg)
    expected = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': ()})
    for index, sample in enumerate(batch['data_samples']):
        assert sample.gt_label_unknown == expected.get_data_info(index)['gt_label_unknown']


@pytest.mark.parametrize('share', [-0.1, 1.5])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(ValueError, match=f'between 0 and 1, got {share}'):
        hidden(share)


@pytest.mark.parametrize('settings', [{}, dict(meta_keys=('img_path',))], ids=['default', 'own'])
def test_every_pipeline_packs_what_is_unknown(settings):
    pack = TRANSFORMS.build(dict(type='PackInputs', **settings))
    results = dict(img=np.zeros((4, 4, 3), np.uint8), img_path='a.jpg', gt_label=[2])
    sample = pack(dict(results, gt_label_unknown=[0, 1]))['data_samples']
    assert sample.metainfo == dict(img_path='a.jpg', gt_label_unknown=[0, 1])
    assert 'gt_label_unknown' not in pack(results)['data_samples']
