"""The JSON of a user's own images: the items of mmpretrain's reader, or one line."""

import json
from pathlib import Path

import mmpretrain.datasets
import pytest
from mmpretrain.registry import DATASETS

from mlic.datasets.own_json import MultiLabelDataset

CLASSES = ['tree', 'car', 'boat']


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'train.json'


def write(file, *items, metainfo=None, **options):
    """The arguments of a data set of these items."""
    metainfo = dict(classes=CLASSES) if metainfo is None else metainfo
    data_list = [dict(img_path=name, gt_label=labels) for name, labels in items]
    file.write_text(json.dumps(dict(metainfo=metainfo, data_list=data_list)))
    return dict(ann_file=str(file), data_prefix=str(file.parent), serialize_data=False, **options)


def test_it_is_what_the_name_in_a_config_stands_for():
    assert DATASETS.get('MultiLabelDataset') is MultiLabelDataset


def test_it_reads_what_mmpretrain_reads(file):
    items = [('a.jpg', [2, 0]), ('sub/b.jpg', []), ('/elsewhere/c.jpg', [1]), ('../d.jpg', [0])]
    for metainfo in (None, {}, dict(note=3, classes=CLASSES)):
        kwargs = write(file, *items, metainfo=metainfo)
        ours, theirs = MultiLabelDataset(**kwargs), mmpretrain.datasets.MultiLabelDataset(**kwargs)
        assert ours.data_list == theirs.data_list and ours.metainfo == theirs.metainfo
    categories = [dict(id=i, category_name=CLASSES[i]) for i in (2, 0, 1)]
    kwargs = write(file, *items, metainfo=dict(categories=categories))
    theirs = mmpretrain.datasets.MultiLabelDataset(**kwargs)
    assert list(MultiLabelDataset(**kwargs).CLASSES) == list(theirs.CLASSES) == CLASSES
    kwargs = write(file, *items, classes=['x', 'y', 'z'])
    assert MultiLabelDataset(**kwargs).CLASSES == ('x', 'y', 'z')


def test_other_forms_than_json_are_read_by_mmpretrain(file):
    kwargs = write(file, ('a.jpg', [2, 0]))
    kwargs['ann_file'] = str(file.rename(file.with_suffix('.yml')))  # JSON is YAML, too
    theirs = mmpretrain.datasets.MultiLabelDataset(**kwargs)
    assert MultiLabelDataset(**kwargs).data_list == theirs.data_list


def test_the_root_may_be_a_path(file):
    write(file, ('a.jpg', [2, 0]))
    options = dict(ann_file=file.name, data_root=file.parent, data_prefix='images')
    ours = MultiLabelDataset(**options)
    assert ours.get_data_info(0) == mmpretrain.datasets.MultiLabelDataset(**options)[0]
    assert ours.ann_file == str(file)


def test_the_names_of_the_classes_are_not_copied_for_each_image(file, monkeypatch):
    """``metainfo`` is a deep copy: of 9,605 names it takes a millisecond."""
    dataset = MultiLabelDataset(**write(file, ('a.jpg', [2, 0]), ('b.jpg', [])))
    monkeypatch.setattr(MultiLabelDataset, 'metainfo', property(lambda _: pytest.fail('copied')))
    assert [dataset[index]['gt_label'] for index in range(2)] == [[2, 0], []]


def test_classes_of_the_config_in_another_order_are_refused(file):
    kwargs = write(file, ('a.jpg', [0]))
    for classes in (CLASSES[::-1], [CLASSES[1], 'x', 'y']):
        with pytest.raises(
            ValueError, match='which metainfo of the config has as class 0'
        ) as error:
            MultiLabelDataset(**kwargs, metainfo=dict(classes=classes))
        assert str(file) in str(error.value)
    for classes in (CLASSES, CLASSES[:2], ['x', CLASSES[1]]):
        dataset = MultiLabelDataset(**kwargs, metainfo=dict(classes=classes))
        assert list(dataset.CLASSES) == classes


@pytest.mark.parametrize('name', ['./a.jpg', 'sub/../a.jpg', 'sub//../a.jpg', '{}/a.jpg'])
def test_an_image_by_another_path_has_the_same_labels(file, name):
    name = name.format(file.parent)
    assert len(MultiLabelDataset(**write(file, ('a.jpg', [0]), (name, [0])))) == 2
    with pytest.raises(ValueError, match='is listed again with different labels'):
        MultiLabelDataset(**write(file, ('a.jpg', [0]), (name, [1])))


def test_backslashes_of_windows_are_turned_unless_the_name_has_them(file, tmp_path):
    (tmp_path / 'x\\c.jpg').touch()
    kwargs = write(file, ('sub\\a.jpg', [0]), ('x\\c.jpg', [1]))
    found = [Path(item['img_path']) for item in MultiLabelDataset(**kwargs).data_list]
    assert found == [tmp_path / 'sub/a.jpg', tmp_path / 'x\\c.jpg']


@pytest.mark.parametrize(
    'items, message',
    [
        ([('a.jpg', [0]), ('b.jpg', [3])], r"a label outside 0..2 in 1 of 2 .*'b.jpg': \[3\]"),
        ([('a.jpg', [-1])], 'a label outside 0..2 in 1 of 1'),  # mmpretrain takes the last class
        ([('a.jpg', [1, 1])], 'a label twice'),
        ([('a.jpg', [True])], 'no list of integers'),
        ([('a.jpg', 1), ('b.jpg', [7])], 'no list of integers .*; a label outside 0..2 in 1 of 2'),
        ([('a.jpg', None)], 'no list of integers'),
        (
            [('a.jpg', [2, 0]), ('a.jpg', [0])],
            r"'a.jpg' is listed again with different labels, \[2, 0\]",
        ),
        ([(3, [0])], '3 is not the name of an image'),
        ([('a\0', [0])], 'is not the name of an image'),
    ],
)
def test_what_is_wrong_with_an_image_is_named(file, items, message):
    with pytest.raises(ValueError, match=f'train.json: .*{message}') as error:
        MultiLabelDataset(**write(file, *items))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'text, message',
    [
        ('[]', 'expected {"metainfo"'),
        ('{"metainfo": {}, "data_list": {}}', 'expected {"metainfo"'),
        ('{"metainfo": {}, "data_list": [3]}', r'data_list\[0\] is 3, expected'),
        ('{"metainfo": {}, "data_list": [{"gt_label": []}]}', r'data_list\[0\] is {'),
        ('{"metainfo": {"classes": "abc"}, "data_list": []}', 'classes are not a list of names'),
        ('{"metainfo": {"categories": [3]}, "data_list": []}', 'categories without id and name'),
        ('{"metainfo": {"classes": ["a"]}, "data_list": []}', '0 images in its data_list'),
        ('{"metainfo": {}, "data_list": [], "data_list": []}', "'data_list' occurs twice"),
        ('[' * 100_000, 'JSON that is nested too deep'),
        ('{', 'not JSON'),
        ('\udcff', 'line 1: not UTF-8'),
    ],
    ids=lambda text: text[:40],
)
def test_a_file_in_another_form_is_refused(file, text, message):
    file.write_bytes(text.encode('utf-8', 'surrogateescape'))
    with pytest.raises(ValueError, match=f'train.json.*{message}'):
        MultiLabelDataset(ann_file=str(file))
    with pytest.raises(FileNotFoundError, match='none.json not found; docs/datasets.md'):
        MultiLabelDataset(ann_file=str(file.with_name('none.json')))
