import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS
from sklearn.datasets import load_digits

from mlic.datasets import coco, digit_scenes
from mlic.datasets.coco import COCOMultiLabel
from mlic.datasets.digit_scenes import POOLS, DigitScenes
from mlic.datasets.nus_wide import NUSWIDE
from mlic.datasets.voc import VOCMultiLabel
from tests.dataset_files import coco_content, write_coco, write_image
from tests.helpers import DATA, ROOT, needs_data

NOT_COCO = r"not a file of COCO's form \("
FOR_OTHERS = {'small', 'photos224'}  # of no data set in particular
CONFIGS = [
    path
    for path in sorted((ROOT / 'configs' / '_base_' / 'datasets').glob('*.py'))
    if path.stem not in FOR_OTHERS
]


# ---------------------------------------------------------------- COCOMultiLabel


def test_coco_labels_are_sorted_unique_and_in_category_id_order(tmp_path, capsys, log):
    dataset = COCOMultiLabel(**write_coco(tmp_path, coco_content()))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [Path(info['img_path']).name for info in infos] == ['a.jpg', 'b.jpg', 'c.jpg']
    assert [info['gt_label'] for info in infos] == [[1], [], [0, 2]]
    assert [info['img_id'] for info in infos] == [7, 12, 30]
    assert dataset.get_cat_ids(2) == [0, 2]
    assert all(Path(info['img_path']).is_file() for info in infos)
    assert capsys.readouterr().out == ''
    assert log[-1].endswith(
        'instances.json: 3 images, 1 without a label kept, 0 listed again, 3 used'
    )


def test_coco_labelled_only_drops_the_unlabelled_image(tmp_path, log):
    kwargs = write_coco(tmp_path, coco_content())
    dataset = COCOMultiLabel(labelled_only=True, **kwargs)
    assert [dataset.get_cat_ids(i) for i in range(len(dataset))] == [[1], [0, 2]]
    assert log[-1].endswith('3 images, 1 without a label dropped, 0 listed again, 2 used')


def test_an_image_that_is_listed_again_has_the_same_labels(tmp_path, log):
    content = coco_content()
    content['images'].append(dict(id=31, file_name='c.jpg'))
    kwargs = write_coco(tmp_path, content)
    with pytest.raises(
        ValueError, match=r'c.jpg is listed again with different labels, \[0, 2\] and'
    ):
        COCOMultiLabel(**kwargs)
    again = [{**x, 'image_id': 31} for x in content['annotations'] if x['image_id'] == 30]
    content['annotations'] += again
    (tmp_path / 'annotations/instances.json').write_text(json.dumps(content))
    assert len(COCOMultiLabel(**kwargs)) == 4
    assert '1 listed again' in log[-1]


def test_coco_classes_in_alphabetical_order(tmp_path, log):
    kwargs = write_coco(tmp_path, coco_content())
    dataset = COCOMultiLabel(class_order='alphabetical', **kwargs)
    assert dataset.metainfo['classes'] == ('dog', 'person', 'zebra')
    assert [dataset.get_cat_ids(i) for i in range(3)] == [[0], [], [1, 2]]
    by_id = COCOMultiLabel(**kwargs)  # next to the labels of the other order in the cache
    assert [by_id.get_cat_ids(i) for i in range(3)] == [[1], [], [0, 2]]
    kwargs['metainfo'] = dict(classes=('dog', 'person', 'zebra'))
    with pytest.raises(ValueError, match='3 categories are not the 3 classes'):
        COCOMultiLabel(**kwargs)  # not hidden by a cache with the same classes
    (tmp_path / 'names.txt').write_text('person\ndog\nzebra\n')
    kwargs['metainfo'] = dict(classes=str(tmp_path / 'names.txt'))
    from_file = COCOMultiLabel(class_order='alphabetical', **kwargs)
    assert from_file.metainfo['classes'] == ('dog', 'person', 'zebra')
    with pytest.raises(ValueError, match=r"one of \('id', 'alphabetical'\), but got 'name'"):
        COCOMultiLabel(class_order='name', **kwargs)


@pytest.mark.parametrize(
    'year, name', [(2014, 'COCO_val2014_000000000042.jpg'), (2017, '000000000042.jpg')]
)
def test_coco_of_both_years(tmp_path, log, year, name):
    categories = [dict(id=2 * i + 3, name=c) for i, c in enumerate(coco.COCO_CATEGORIES)]
    content = dict(
        images=[dict(id=42, file_name=name)],
        categories=categories,
        annotations=[dict(id=1, image_id=42, category_id=categories[16]['id'])],
    )
    (tmp_path / f'val{year}').mkdir()
    (tmp_path / 'annotations').mkdir()
    (tmp_path / f'val{year}' / name).touch()
    ann_file = f'annotations/instances_val{year}.json'
    (tmp_path / ann_file).write_text(json.dumps(content))
    kwargs = dict(data_root=str(tmp_path), ann_file=ann_file, data_prefix=f'val{year}')
    assert COCOMultiLabel(**kwargs).get_data_info(0) == dict(
        img_path=str(tmp_path / f'val{year}' / name), img_id=42, gt_label=[16], sample_idx=0
    )
    dataset = COCOMultiLabel(class_order='alphabetical', **kwargs)
    assert dataset.metainfo['classes'][dataset.get_cat_ids(0)[0]] == 'dog'
    assert list(dataset.metainfo['classes']) == sorted(coco.COCO_CATEGORIES)


def test_coco_has_the_published_classes():
    classes = COCOMultiLabel.METAINFO['classes']
    assert len(classes) == len(set(classes)) == 80
    names = ['person', 'stop sign', 'backpack', 'dining table', 'toothbrush']
    assert [classes[i] for i in (0, 11, 24, 60, 79)] == names


def test_coco_builds_from_the_registry_with_a_pipeline(tmp_path):
    pipeline = [
        dict(type='LoadImageStrict'),
        dict(type='MultiScaleCrop', scale=8),
        dict(type='PackInputs'),
    ]
    kwargs = write_coco(tmp_path, coco_content())
    dataset = DATASETS.build(dict(type='COCOMultiLabel', pipeline=pipeline, **kwargs))
    item = dataset[2]
    assert item['inputs'].shape == (3, 8, 8)
    assert item['data_samples'].gt_label.tolist() == [0, 2]
    assert Path(item['data_samples'].img_path).name == 'c.jpg'


def annotation(**keys):
    return dict(dict(id=1, image_id=7, category_id=1), **keys)


@pytest.mark.parametrize(
    'part, items, message',
    [
        ('images', [], 'found 0 images'),
        ('annotations', [], 'found 0 annotations'),
        (
            'categories',
            [dict(id=1, name='person'), dict(id=2, name='cat')],
            r".* 2 categories are not the 3 classes .* file: \['cat'\], .*\['dog', 'zebra'\]",
        ),
        (
            'annotations',
            [annotation(category_id=3), annotation(id=2)],
            r'1 of 2 annotations are of categories .* such as category_id 3',
        ),
        (
            'annotations',
            [annotation(image_id=8)],
            r'1 of 1 annotations are of images .* such as image_id 8',
        ),
        (
            'images',
            [dict(id=i, file_name='a.jpg') for i in (7, 30, 9, 7)],
            r'1 ids of its 4 images occur more than once, such as id 7',
        ),
        (
            'categories',
            [dict(id=i, name='dog') for i in (24, 1, 1)],
            r'1 ids of its 3 categories occur more than once, such as id 1',
        ),
        (
            'images',
            [dict(id=i) for i in (7, 12, 30)],
            NOT_COCO + r"images\[0\] has no 'file_name'\)",
        ),
        (
            'annotations',
            [dict(id=1, image_id=7)],
            NOT_COCO + r"annotations\[0\] has no 'category_id'\)",
        ),
        ('images', ['a.jpg'], NOT_COCO + r"images\[0\] is 'a.jpg', not an object\)"),
    ],
)
def test_coco_names_the_file_and_the_count_of_bad_annotations(tmp_path, part, items, message):
    kwargs = write_coco(tmp_path, {**coco_content(), part: items})
    with pytest.raises(ValueError, match=f'instances.json: {message}'):
        COCOMultiLabel(**kwargs)


def test_coco_names_what_is_missing(tmp_path):
    kwargs = write_coco(tmp_path, coco_content())
    with pytest.raises(FileNotFoundError, match=r'annotations/none.json not found; docs/datasets'):
        COCOMultiLabel(**{**kwargs, 'ann_file': 'annotations/none.json'})
    with pytest.raises(FileNotFoundError, match=r'val2014 not found; docs/datasets.md'):
        COCOMultiLabel(data_prefix=dict(img_path='val2014'), **kwargs)
    with pytest.raises(FileNotFoundError, match=r'a.jpg not found: is .*annotations the folder of'):
        COCOMultiLabel(data_prefix=dict(img_path='annotations'), **kwargs)
    whole = json.dumps(coco_content())
    for text, fault in (
        (whole[:-20], r'not JSON \(.* line 1 column'),
        (whole[:1], r'not JSON \('),
        ('', r'not JSON \('),
        ('[1]', NOT_COCO + 'it holds a list, not an object'),
    ):
        (tmp_path / 'annotations' / 'instances.json').write_text(text)
        with pytest.raises(ValueError, match=f'instances.json: {fault}') as error:
            COCOMultiLabel(**kwargs)
        assert '\n' not in str(error.value)


def with_names(*names):
    return dict(images=[dict(id=i, file_name=name) for i, name in zip((7, 12, 30), names)])


@pytest.mark.parametrize(
    'name',
    [3, True, None, ['a.jpg'], '', ' ', 'a\0.jpg', '\ud800.jpg', '..', '.', '../train2014/../x.jpg',
     '..\\x.jpg', '/etc/hostname', '\\etc\\hostname/../../../x.jpg'],
    ids=repr,
)  # fmt: skip
def test_coco_refuses_what_is_no_name_of_an_image_in_its_folder(tmp_path, name):
    content = {**coco_content(), **with_names('a.jpg', 'b.jpg', name)}
    kwargs = write_coco(tmp_path, content)
    for _ in range(2):  # a cache does not hide it
        with pytest.raises(ValueError, match='instances.json: ') as error:
            COCOMultiLabel(**kwargs)
        assert re.search('is not the name of an image|is not in .*train2014: ', str(error.value))
        assert '\n' not in str(error.value)


def test_an_absolute_path_out_of_the_folder_is_named_as_it_is_written(tmp_path):
    kwargs = write_coco(tmp_path, {**coco_content(), **with_names('a.jpg', 'b.jpg', '/data/c.jpg')})
    with pytest.raises(ValueError, match="the image '/data/c.jpg' is not in "):
        COCOMultiLabel(**kwargs)


def test_coco_finds_images_by_windows_names_and_by_absolute_paths_into_its_folder(tmp_path, log):
    inside = tmp_path / 'train2014' / 'b.jpg'
    content = {**coco_content(), **with_names('train2014\\a.jpg', str(inside), 'x\\c.jpg')}
    content['images'][1]['file_name'] = 'train2014\\b.jpg'
    kwargs = write_coco(tmp_path, content)
    write_image(tmp_path / 'x\\c.jpg')  # as some unpack a Windows archive
    kwargs['serialize_data'] = False
    dataset = COCOMultiLabel(**kwargs, data_prefix='')
    names = ['train2014/a.jpg', 'train2014/b.jpg', 'x\\c.jpg']
    assert [Path(item['img_path']) for item in dataset.data_list] == [tmp_path / n for n in names]
    content['images'] = with_names('a.jpg', str(inside))['images']
    content['annotations'] = content['annotations'][-1:]
    (tmp_path / 'annotations/instances.json').write_text(json.dumps(content))
    assert [item['img_path'] for item in COCOMultiLabel(**kwargs).data_list][1] == str(inside)


def roboflow(name, **counts):
    """A file with a root category 0, and so many annotations of each category."""
    ids = {'0': 0, '1': 1, '2': 2}
    return dict(
        images=[dict(id=5, file_name='a.jpg')],
        categories=[
            dict(id=0, name=name, supercategory='none'),
            dict(id=1, name='fish', supercategory=name),
            dict(id=2, name='crab', supercategory=name),
        ],
        annotations=[
            dict(image_id=5, category_id=ids[key[1:]])
            for key, count in counts.items()
            for _ in range(count)
        ],
    )


@pytest.mark.parametrize('name', ['fish', 'animals'])
def test_coco_categories_without_an_annotation_need_not_be_classes(tmp_path, log, name):
    kwargs = write_coco(tmp_path, roboflow(name, c1=1, c2=2))
    kwargs['metainfo'] = dict(classes=('fish', 'crab'))
    assert COCOMultiLabel(**kwargs).get_cat_ids(0) == [0, 1]
    assert any(f"1 categories without an annotation are not classes: '{name}'" in x for x in log)
    (tmp_path / 'annotations/instances.json').write_text(json.dumps(roboflow(name, c2=1)))
    assert COCOMultiLabel(**kwargs).get_cat_ids(0) == [1]  # a split without the other class
    kwargs['metainfo'] = dict(classes=(name, 'fish', 'crab'))
    if name == 'fish':
        with pytest.raises(ValueError, match="the data set has 'fish' twice.*ids: 'fish', 'crab'"):
            COCOMultiLabel(**kwargs)
    else:
        assert COCOMultiLabel(**kwargs).get_cat_ids(0) == [2]


def test_coco_refuses_what_two_categories_of_one_name_leave_open(tmp_path):
    kwargs = write_coco(tmp_path, roboflow('fish', c0=1, c1=1, c2=1))
    kwargs['metainfo'] = dict(classes=('fish', 'crab'))
    with pytest.raises(ValueError, match="json: the categories 0 and 1 are both called 'fish'"):
        COCOMultiLabel(**kwargs)
    file = tmp_path / 'annotations/instances.json'
    file.write_text(json.dumps(roboflow('x', c0=1, c1=1, c2=1)))
    with pytest.raises(ValueError, match=r"only in the file: \['x'\], only in the data set: \[\]"):
        COCOMultiLabel(**kwargs)  # it has annotations: leaving it out would lose labels
    file.write_text(json.dumps(roboflow('x', c1=1, c2=1)))
    kwargs['metainfo'] = dict(classes=('crab', 'fish'))
    with pytest.raises(ValueError, match="in another order.*ids: 'fish', 'crab'"):
        COCOMultiLabel(**kwargs)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.update(images={'7': 'a.jpg'}), 'its images are a dict, not a list'),
        (lambda c: c['images'][0].update(id=True), r'images\[0\] has the id True, not a whole'),
        (lambda c: c['images'][0].update(id=float('nan')), 'has the id nan, not a whole number'),
        (lambda c: c['images'][0].update(id=[1]), r'has the id \[1\], not a whole number'),
        (lambda c: c['images'][0].update(id='30'), 'ids of its images are numbers in some places'),
        (lambda c: c['categories'][0].update(name=['zebra']), r"a category is called \['zebra'\]"),
        (lambda c: c['annotations'][0].update(image_id='30'), 'numbers in some places, text'),
        (lambda c: c['annotations'].append(None), r'annotations\[4\] is None, not an object'),
    ],
)
def test_coco_names_the_item_and_the_value_that_has_no_place_in_its_form(tmp_path, change, message):
    content = coco_content()
    change(content)
    kwargs = write_coco(tmp_path, content)
    with pytest.raises(ValueError, match=f'instances.json: {NOT_COCO}.*{message}'):
        COCOMultiLabel(**kwargs)


def test_coco_reads_ids_that_are_texts_or_floats_without_a_fraction(tmp_path, log):
    for kind in (str, float):
        content = coco_content()
        for item in [*content['images'], *content['categories'], *content['annotations']]:
            item.update({key: kind(value) for key, value in item.items() if key.endswith('id')})
        for category, new in zip(content['categories'], (24, 10, 18)):  # in order as texts, too
            old = category['id']
            category['id'] = kind(new)
            for item in content['annotations']:
                if item['category_id'] == old:
                    item['category_id'] = kind(new)
        folder = tmp_path / kind.__name__
        folder.mkdir()
        dataset = COCOMultiLabel(**write_coco(folder, content), serialize_data=False)
        found = {Path(item['img_path']).name: item['gt_label'] for item in dataset.data_list}
        assert found == {'a.jpg': [1], 'b.jpg': [], 'c.jpg': [0, 2]}


def likeness(vectors):
    """Cosines of all pairs of different rows, about their mean."""
    vectors = vectors - vectors.mean(0)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]


@needs_data('label_files', 'prototypes')
@pytest.mark.parametrize(
    'dataset, names, prototypes',
    [
        (COCOMultiLabel, 'mscoco', 'resnet101_448_coco_085'),
        (COCOMultiLabel, 'mscoco', 'resnet101_576_coco_095'),
        (VOCMultiLabel, 'voc2007', 'resnet101_448_voc_085'),
        (NUSWIDE, 'nuswide', 'resnet101_448_nuswide_085'),
    ],
)
def test_classes_are_in_the_order_of_published_names_and_prototypes(dataset, names, prototypes):
    """Classes with alike word vectors have alike prototypes: 0.44 to 0.52, in this order only."""
    folder = DATA / 'label_files/names_and_embeddings'
    lines = (folder / f'{names}.label.txt').read_text().split('\n')
    classes = dataset.METAINFO['classes']
    assert tuple(line.strip() for line in lines if line.strip()) == tuple(classes)
    words = np.load(folder / f'{names}.glove.npy')
    rows = np.load(DATA / f'prototypes/vis_prototype_embed_file_select_{prototypes}.npy').squeeze()
    assert len(rows) == len(words) == len(classes)

    def agreement(order):
        return np.corrcoef(likeness(rows), likeness(words[order]))[0, 1]

    generator = np.random.default_rng(0)
    others = [agreement(generator.permutation(len(classes))) for _ in range(50)]
    if list(classes) != sorted(classes):
        others.append(agreement(np.argsort(classes)))
    assert agreement(np.arange(len(classes))) > 0.4 > max(others)


# ---------------------------------------------------------------- DigitScenes


def test_digit_scenes_are_deterministic_per_seed_split_and_index():
    first = DigitScenes('train', num_images=12)
    longer = DigitScenes('train', num_images=20, indices=[11, 3])
    for mine, theirs in ((3, 1), (11, 0)):
        np.testing.assert_array_equal(first[mine]['img'], longer[theirs]['img'])
        assert first[mine]['img_path'] == longer[theirs]['img_path']
        assert first.get_cat_ids(mine) == longer.get_cat_ids(theirs)
    np.testing.assert_array_equal(first[5]['img'], first[5]['img'])
    images = {first[i]['img'].tobytes() for i in range(12)}
    for other in (DigitScenes('train', num_images=12, seed=1), DigitScenes('test', num_images=12)):
        images |= {other[i]['img'].tobytes() for i in range(12)}
    assert len(images) == 36


def test_digit_scenes_with_one_path_are_one_picture():
    paths = [
        info['img_path']
        for split in POOLS
        for size in (96, 128)
        for seed in (0, 1)
        for info in DigitScenes(split, 3, size, seed, serialize_data=False).data_list
    ]
    assert len(set(paths)) == len(paths) == 36


def test_digit_scenes_splits_share_no_scan():
    scans = {
        split: {
            scan
            for seed in (0, 1)
            for info in DigitScenes(split, 400, seed=seed, serialize_data=False).data_list
            for scan in info['digits'][:, 0].tolist()
        }
        for split in POOLS
    }
    for split, (start, stop) in POOLS.items():
        assert min(scans[split]) >= start
        assert max(scans[split]) < stop
    assert sorted(POOLS.values()) == [(0, 1078), (1078, 1348), (1348, len(load_digits().target))]


def test_digit_scenes_labels_are_the_classes_of_the_scans():
    target = load_digits().target
    dataset = DigitScenes('val', num_images=300)
    count = np.zeros(10, int)
    for idx in range(len(dataset)):
        info = dataset.get_data_info(idx)
        assert info['gt_label'] == sorted(set(target[info['digits'][:, 0]].tolist()))
        assert 1 <= len(info['digits']) <= 4
        x, y, side = info['digits'][:, 1:].T
        assert (x >= 0).all() and (y >= 0).all()
        assert (x + side <= 128).all() and (y + side <= 128).all()
        assert (side >= 24).all() and (side <= 56).all()
        count[dataset.get_cat_ids(idx)] += 1
    assert count.min() > 30  # of 300 scenes, about 70 each


def test_digit_scenes_pixels_show_the_digits_of_the_label(monkeypatch):
    """A scene minus the same scene with one scan blank looks like that scan."""
    scans, target = digit_scenes.load_scans()
    train = scans[: POOLS['train'][1]].reshape(-1, 64)
    train = train / np.linalg.norm(train, axis=1, keepdims=True)
    dataset = DigitScenes('test', num_images=40)
    right = []
    for idx in range(len(dataset)):
        for scan, x, y, side in dataset.get_data_info(idx)['digits']:
            blank = scans.copy()
            blank[scan] = 0
            with monkeypatch.context() as patch:
                patch.setattr(digit_scenes, 'load_scans', lambda blank=blank: (blank, target))
                without = dataset[idx]['img'].astype(int)
            change = np.abs(dataset[idx]['img'] - without).max(2).astype(np.float32)
            change = change[y : y + side, x : x + side]
            small = cv2.resize(change, (8, 8), interpolation=cv2.INTER_AREA).reshape(64)
            right.append(target[np.argmax(train @ small)] == target[scan])
    assert len(right) > 80
    assert np.mean(right) > 0.8  # nearest neighbour of another writer, tilted


def test_digit_scenes_items_are_packed_without_loading_a_file():
    dataset = DATASETS.build(
        dict(type='DigitScenes', split='val', num_images=3, pipeline=[dict(type='PackInputs')])
    )
    item = dataset[2]
    assert item['inputs'].shape == (3, 128, 128)
    assert item['inputs'].dtype == torch.uint8
    sample = item['data_samples']
    assert sample.img_path == 'digit_scenes/val_128px_seed0/000002'
    assert sample.sample_idx == 2
    assert sample.img_shape == sample.ori_shape == (128, 128)
    assert sample.gt_label.tolist() == dataset.get_cat_ids(2)
    assert dataset.metainfo['classes'][7] == 'seven'


@pytest.mark.parametrize('size', [32, 96, 200])
def test_digit_scenes_of_other_sizes(size):
    dataset = DigitScenes('train', num_images=4, image_size=size)
    for i in range(4):
        assert dataset[i]['img'].shape == (size, size, 3)


def test_digit_scenes_are_the_same_in_workers_and_epochs():
    dataset = DigitScenes('train', num_images=12, pipeline=[dict(type='PackInputs')])
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=5,
            num_workers=2,
            persistent_workers=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        seed=0,
    )
    for _ in range(2):
        seen = []
        for batch in loader:
            for inputs, sample in zip(batch['inputs'], batch['data_samples']):
                assert torch.equal(inputs, dataset[sample.sample_idx]['inputs'])
                seen.append(sample.sample_idx)
        assert sorted(seen) == list(range(12))


def test_digit_scenes_names_wrong_arguments():
    with pytest.raises(ValueError, match=r"one of \('train', 'val', 'test'\), but got 'dev'"):
        DigitScenes('dev')
    with pytest.raises(ValueError, match='but got 5 and 16'):
        DigitScenes(num_images=5, image_size=16)


# ---------------------------------------------------------------- what the pipelines pack


def test_images_without_labels_become_a_row_of_zeros():
    inputs = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    for labels in ([[], [0, 2]], [[], []]):
        samples = [
            PackInputs()(dict(img=np.zeros((4, 4, 3), np.uint8), gt_label=label))['data_samples']
            for label in labels
        ]
        preprocess = ClsDataPreprocessor(to_onehot=True, num_classes=3)
        packed = preprocess(dict(inputs=inputs, data_samples=samples), training=True)
        target = torch.stack([sample.gt_score for sample in packed['data_samples']])
        expected = torch.zeros(2, 3, dtype=target.dtype)
        for row, label in enumerate(labels):
            expected[row, label] = 1
        torch.testing.assert_close(target, expected)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_dataset_configs_load_and_agree_with_themselves(path):
    cfg = Config.fromfile(str(path))
    size = int(re.search(r'\d{3}(?=_|$)', path.stem)[0])
    train, test = cfg.train_dataloader, cfg.test_dataloader
    assert train.dataset.pipeline == cfg.train_pipeline
    assert cfg.val_dataloader.dataset.pipeline == test.dataset.pipeline == cfg.test_pipeline
    assert train.drop_last and not test.get('drop_last', False)
    assert train.sampler.shuffle and not test.sampler.shuffle
    assert cfg.data_preprocessor.to_onehot and cfg.data_preprocessor.to_rgb
    assert test.dataset.test_mode and not train.dataset.get('test_mode', False)
    for pipeline in (cfg.get('stage1_pipeline', []), cfg.train_pipeline, cfg.test_pipeline):
        kinds = [step.type for step in pipeline]
        assert 'LoadImageFromFile' not in kinds
        assert not kinds or ('LoadImageStrict' in kinds) == (path.stem != 'digits128')
    image = np.zeros((60, 90, 3), np.uint8)
    for dataset in (train.dataset, test.dataset):
        assert dataset.type in DATASETS
        pipeline = [step for step in dataset.pipeline if step.type != 'LoadImageStrict']
        if dataset.type == 'DigitScenes':
            image = np.zeros((size, size, 3), np.uint8)
        results = dict(img=image, img_shape=image.shape[:2], gt_label=[0])
        for step in DigitScenes(num_images=1, pipeline=pipeline).pipeline.transforms:
            results = step(results)
        assert results['inputs'].shape == (3, size, size)
