"""Data sets whose labels are hidden, wrong or fewer, and what a pipeline keeps of them."""

import mmengine.dataset
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
    settings = dict(of='SomeLabels', share=share, hide_seed=hide_seed) | settings
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


def test_of_each_image_one_label_is_known_and_no_absence():
    present, _ = entries(SomeLabels())
    drawn = [
        entries(DATASETS.build(dict(type='OnePositive', of='SomeLabels', draw_seed=seed)))
        for seed in (0, 0, 1)
    ]
    for known, unknown in drawn:
        assert known <= present
        assert [i for i, _ in sorted(known)] == sorted({i for i, _ in present})
        assert len(known | unknown) == IMAGES * CLASSES and not known & unknown
    assert drawn[0] == drawn[1] != drawn[2]
    # each of an image's labels has its chance
    numbers = {i: sorted(c for image, c in present if image == i) for i, _ in present}
    places = [numbers[i].index(c) for i, c in drawn[0][0] if len(numbers[i]) == 3]
    assert set(places) == {0, 1, 2}


@DATASETS.register_module()
class PlainLabels(mmengine.dataset.BaseDataset):
    """A data set that is mmengine's alone."""

    METAINFO = SomeLabels.METAINFO
    load_data_list = SomeLabels.load_data_list


@pytest.mark.parametrize(
    'wrapper',
    [
        dict(type='HideLabels', share=0.5),
        dict(type='DegradedData', images=0.5, hidden=0.5),
        dict(type='OnePositive'),
    ],
)
def test_a_data_set_of_mmengine_and_indices_from_the_end(wrapper):
    dataset = DATASETS.build(dict(wrapper, of='PlainLabels', serialize_data=False))
    assert tuple(dataset.CLASSES) == tuple('abcdefghij')
    last = len(dataset) - 1
    for index in (-1, torch.tensor(last), np.int64(last)):
        assert dataset.get_data_info(index)['gt_label'] == dataset.get_data_info(last)['gt_label']
        assert dataset[index]['gt_label_unknown'] == dataset[last]['gt_label_unknown']
    with pytest.raises(IndexError):
        dataset[last + 1]


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


@DATASETS.register_module()
class NoClasses(SomeLabels):
    """A data set that does not name its classes."""

    METAINFO = {}


def test_a_data_set_without_classes_is_named(tmp_path):
    with pytest.raises(ValueError, match='HideLabels needs .* classes, and NoClasses names none'):
        hidden(0.3, of='NoClasses')
    with pytest.raises(ValueError, match='OnePositive needs .* classes, and NoClasses names none'):
        DATASETS.build(dict(type='OnePositive', of='NoClasses'))
    part = tmp_path / 'part.txt'
    part.write_text('a\n')
    with pytest.raises(ValueError, match="part.txt names 'a', and NoClasses has 0 classes"):
        DATASETS.build(dict(type='ClassPart', of='NoClasses', part=str(part)))


@pytest.mark.parametrize('share', [-0.1, 1.5])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(ValueError, match=f'share must lie between 0 and 1, got {share}'):
        hidden(share)


@pytest.mark.parametrize('settings', [{}, dict(meta_keys=('img_path',))], ids=['default', 'own'])
def test_every_pipeline_packs_what_is_unknown(settings):
    pack = TRANSFORMS.build(dict(type='PackInputs', **settings))
    results = dict(img=np.zeros((4, 4, 3), np.uint8), img_path='a.jpg', gt_label=[2])
    sample = pack(dict(results, gt_label_unknown=[0, 1]))['data_samples']
    assert sample.metainfo == dict(img_path='a.jpg', gt_label_unknown=[0, 1])
    assert 'gt_label_unknown' not in pack(results)['data_samples']


# --- degraded data ---------------------------------------------------------------------------


@DATASETS.register_module()
class SkewedLabels(SomeLabels):
    """1,500 images without pixels, whose classes have from a half to a twentieth of them."""

    def load_data_list(self):
        share = np.geomspace(0.5, 0.05, CLASSES)
        target = np.random.default_rng(6).random((1500, CLASSES)) < share
        return [
            dict(img_path=f'{i}', gt_label=np.flatnonzero(r).tolist()) for i, r in enumerate(target)
        ]


def degraded(of='SomeLabels', **settings):
    return DATASETS.build(dict(type='DegradedData', of=of, **settings))


def labels_of(dataset):
    """The positive labels of each image, by the value of its pixels."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {int(info['img'][0, 0, 0]): info['gt_label'] for info in infos}


def positives(dataset):
    present, _ = entries(dataset)
    return present


def test_without_a_share_it_is_the_data_set():
    plain, dataset = SomeLabels(pipeline=PIPELINE), degraded(pipeline=PIPELINE)
    assert len(dataset) == IMAGES and entries(dataset) == entries(plain)
    assert (dataset[7]['inputs'] == plain[7]['inputs']).all()


def test_a_smaller_part_of_the_images_is_in_a_larger_one():
    parts = [labels_of(degraded(images=share)) for share in (0.05, 0.25, 0.5, 1.0)]
    assert [len(part) for part in parts] == [10, 50, 100, 200]
    for smaller, larger in zip(parts, parts[1:]):
        assert smaller == {image: larger[image] for image in smaller}
    again, other = (labels_of(degraded(images=0.25, draw_seed=seed)) for seed in (0, 1))
    assert parts[1] == again != other


def test_an_image_of_a_part_has_its_own_pixels_and_labels():
    dataset = degraded(images=0.1, pipeline=PIPELINE)
    plain = SomeLabels()
    for index in (0, len(dataset) - 1):
        item = dataset[index]
        place = int(item['inputs'][0, 0, 0])
        assert item['data_samples'].gt_label.tolist() == plain.get_data_info(place)['gt_label']
        assert dataset.get_data_info(index)['gt_label'] == plain.get_data_info(place)['gt_label']


@pytest.mark.parametrize('share', [0.15, 0.3])
def test_images_keep_the_number_of_their_labels_and_classes_about_that_of_their_images(share):
    plain, dataset = SkewedLabels(), degraded('SkewedLabels', replaced=share)
    before, after = positives(plain), positives(dataset)
    sizes = [
        [len(infos.get_data_info(i)['gt_label']) for i in range(len(infos))]
        for infos in (plain, dataset)
    ]
    assert sizes[0] == sizes[1]
    kept = len(before & after) / len(before)
    deviation = 3 * np.sqrt(share * (1 - share) / len(before))
    assert abs(kept - (1 - share)) <= deviation
    for label in range(CLASSES):
        old, new = ({i for i, c in some if c == label} for some in (before, after))
        # an image that has a frequent class cannot get it once more
        assert 0.7 < len(new) / len(old) < 1.4
        assert abs(len(old & new) / len(old) - (1 - share)) < 4 * np.sqrt(share / len(old))


def test_fewer_labels_of_a_frequent_class_are_wrong_and_more_of_a_rare_one():
    before, after = positives(SkewedLabels()), positives(degraded('SkewedLabels', replaced=0.3))
    wrong = [0.0] * CLASSES
    for label in range(CLASSES):
        labels = {(i, c) for i, c in after if c == label}
        wrong[label] = len(labels - before) / len(labels)
    frequent, rare = wrong[:2], wrong[-5:]
    assert max(frequent) < 0.29 < 0.31 < min(rare)
    assert len(after - before) / len(after) == pytest.approx(0.3, abs=0.02)


def test_what_a_smaller_share_exchanges_a_larger_one_does_too():
    before = positives(SomeLabels())
    some, more = (positives(degraded(replaced=share)) for share in (0.15, 0.3))
    assert before - some < before - more and some - before < more - before
    assert some != positives(degraded(replaced=0.15, draw_seed=1))


def test_only_what_is_known_to_be_absent_takes_the_place_of_a_label():
    dataset = degraded(replaced=1.0)
    info = dict(gt_label=[1, 2], gt_label_unknown=[0, 3, 4, 5, 6])
    for idx in range(50):
        found = dataset._hide(info, idx)
        assert set(found['gt_label']) <= {7, 8, 9} and len(found['gt_label']) == 2
        assert found['gt_label_unknown'] == info['gt_label_unknown']
    one_place = dict(gt_label=[0, 1], gt_label_unknown=[*range(2, 9)])
    assert dataset._hide(one_place, 0)['gt_label'] in ([0, 9], [1, 9])
    for labels in ([], list(range(CLASSES))):
        assert dataset._hide(dict(gt_label=labels), 0)['gt_label'] == labels


def test_a_class_without_an_image_is_no_wrong_label():
    dataset = degraded(replaced=1.0)
    dataset.frequency[9] = 0
    found = {label for i in range(50) for label in dataset._hide(dict(gt_label=[0]), i)['gt_label']}
    assert found == set(range(1, 9))


def test_wrong_labels_are_hidden_like_true_ones():
    plain, dataset = degraded(replaced=0.5), degraded(replaced=0.5, hidden=0.4)
    known, unknown = entries(dataset)
    assert known == positives(plain) - unknown and unknown & positives(plain)


def test_prototypes_and_training_read_the_same_labels():
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/digits128.py')
    cfg.train_dataloader.num_workers = 0
    change = dict(type='DegradedData', of='DigitScenes', images=0.5, replaced=0.5, draw_seed=3)
    cfg.train_dataloader.dataset.update(change, num_images=16, image_size=32)
    (batch,) = build_prototype_loader(cfg)
    expected = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': ()})
    assert len(batch['data_samples']) == len(expected) == 8
    for index, sample in enumerate(batch['data_samples']):
        assert sample.gt_label.tolist() == expected.get_data_info(index)['gt_label']


@pytest.mark.parametrize(
    'settings,words',
    [
        (dict(images=0.0), 'leaves an image, got 0.0 of 200'),
        (dict(images=1.5), 'leaves an image, got 1.5 of 200'),
        (dict(replaced=-0.1), 'replaced must lie between 0 and 1, got -0.1'),
        (dict(hidden=2), 'hidden must lie between 0 and 1, got 2'),
    ],
)
def test_a_share_of_a_degraded_set_out_of_range_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        degraded(**settings)
