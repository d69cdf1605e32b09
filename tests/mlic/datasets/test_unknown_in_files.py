"""What nobody looked for is unknown, from the files to the sample: neither present nor absent."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from mmengine.config import Config

from mlic.cli import from_csv, from_folder
from mlic.datasets.coco import COCOMultiLabel
from mlic.datasets.image_level import known_absent
from mlic.datasets.own_data.choices import Choices
from mlic.datasets.own_data.rows import read_images
from mlic.datasets.own_data.splits import Image, count_unknown
from mlic.datasets.own_data.table import read_tables
from mlic.datasets.own_json import MultiLabelDataset
from tests.dataset_files import COCO_CLASSES, COCO_IDS, coco_content, write_coco

pytestmark = pytest.mark.usefixtures('empty_folder')
CLASSES = 'cat', 'dog'
PACKED = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs', meta_keys=('img_path', 'gt_label_unknown')),
]
checked = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write_photos(*names):
    """Images of one colour."""
    for number, name in enumerate(names):
        path = Path('photos', name)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8, 3), number, np.uint8))


def write_rows(header, *rows):
    with open('labels.csv', 'w', newline='') as file:
        csv.writer(file).writerows([header, *rows])


def samples(out='out'):
    """{image: (labels, unknown labels)} in words, of the samples of all splits as written."""
    found = {}
    for split in ('train', 'val', 'test'):
        if Path(out, f'{split}.json').exists():
            dataset = MultiLabelDataset(
                ann_file=f'{out}/{split}.json', data_prefix='photos', pipeline=PACKED,
                serialize_data=False,
            )  # fmt: skip
            names = dataset.metainfo['classes']
            for item in dataset:
                sample = item['data_samples']
                lists = sample.gt_label.tolist(), sample.get('gt_label_unknown', ())
                words = tuple([names[i] for i in indices] for indices in lists)
                found[str(Path(sample.img_path).relative_to('photos'))] = words
    return found


def convert(*options):
    from_csv.main(['labels.csv', '--images', 'photos', '--out', 'out', *options])
    return samples()


# ---------------------------------------------------------------- tables


def test_chexpert_from_its_table_to_the_sample(capsys):
    names = [f'{i}.jpg' for i in range(20)]
    write_photos(*(f'train/patient{i}/view1.jpg' for i in range(20)))
    cycle = [('1.0', ''), ('', '0.0'), ('0.0', '-1.0'), ('-1.0', '1.0')]
    paths = [f'CheXpert-v1.0-small/train/patient{i}/view1.jpg' for i in range(20)]
    rows = [
        (path, ['Male', 'Female'][i % 2], 40 + i, 'Frontal', 'AP', *cycle[i % 4])
        for i, path in enumerate(paths)
    ]
    write_rows(('Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA', 'Edema', 'Fracture'), *rows)
    with pytest.raises(SystemExit, match="that it is unknown, type: .* --unknown -1 ''$"):
        convert()
    wanted = [
        (['Edema'], ['Fracture']), ([], ['Edema']), ([], ['Fracture']), (['Fracture'], ['Edema']),
    ]  # fmt: skip
    capsys.readouterr()
    found = convert('--unknown', '-1', '')
    assert found == {f'train/patient{i}/view1.jpg': wanted[i % 4] for i in range(len(names))}
    printed = capsys.readouterr().out
    assert "('1' is present, '0' absent, blank, '-1' unknown)" in printed
    assert 'unknown: 20 of 40 labels (50.0%), most: ' in printed
    assert 'no metric is defined' not in printed
    assert 'columns not used: Sex, Age, Frontal/Lateral, AP/PA' in printed
    found = convert('--unknown', '-1')  # and a blank is absent
    wanted = [(['Edema'], []), ([], []), ([], ['Fracture']), (['Fracture'], ['Edema'])]
    assert list(found.values()) and all(
        found[f'train/patient{i}/view1.jpg'] == wanted[i % 4] for i in range(20)
    )


def test_open_images_from_its_table_to_the_sample(capsys):
    write_photos(*(f'{i:04x}.jpg' for i in range(20)))
    verified = [
        [('cat', 1), ('dog', 0)],
        [('dog', 1)],
        [('cat', 0)],
        [('cat', 1), ('dog', 1), ('boat', 0)],
    ]
    rows = [
        (f'{i:04x}', 'verification', label, there)
        for i in range(20)
        for label, there in verified[i % 4]
    ]
    write_rows(('ImageID', 'Source', 'LabelName', 'Confidence'), *rows)
    found = convert()
    assert all(not unknown for _, unknown in found.values())
    printed = capsys.readouterr().out
    assert "rows with 0 in 'Confidence' say that the label is not there" in printed
    assert '--unlisted unknown says that nobody annotated them' in printed
    found = convert('--unlisted', 'unknown')
    wanted = [(['cat'], []), (['dog'], ['cat']), ([], ['dog']), (['cat', 'dog'], [])]
    assert found == {f'{i:04x}.jpg': wanted[i % 4] for i in range(20)}
    printed = capsys.readouterr().out
    assert 'unknown: 10 of 40 labels (25.0%), most: ' in printed
    assert "1 label in no image, and a class only if --classes FILE has it: 'boat'" in printed
    Path('classes.txt').write_text('boat\ncat\ndog\n')
    found = convert('--unlisted', 'unknown', '--classes', 'classes.txt')
    assert found['0000.jpg'] == (['cat'], ['boat']) and found['0003.jpg'] == (['cat', 'dog'], [])


# what a row says of cat, by what stands there, and the options
MEANINGS = [
    ({'1': 1, '0': 0, '?': None}, []),
    ({'1': 1, '0': 0, '': None}, []),
    ({'1.0': 1, '0.0': 0, '': None, 'nan': None}, []),
    ({'True': 1, 'False': 0, 'NA': None, 'u': None}, []),
    ({'1': 1, '-1': 0, 'Unknown': None}, []),
    ({'1': 1, '0': 0, '-1': None}, ['--unknown', '-1']),
    ({'1': 1, '-1': 0, '0': None}, ['--unknown', '0']),  # of work on partial labels
    ({'1': 1, '0': 0, '-1': None, '': 0}, ['--unknown', '-1']),
    ({'1': 1, '0': 0, '': 0}, ['--absent', '0', '']),
    ({'1': 1, '0': 0, '': 1}, ['--present', '1', '']),
    ({'yes': 1, 'no': 0, 'w': None}, ['--present', 'yes', '--absent', 'no', '--unknown', 'w']),
    ({'2': 1, '1': 1, '0': 0, '9': None}, ['--present', '1', '2', '--unknown', '9']),
]  # fmt: skip


@pytest.mark.parametrize('meaning, options', MEANINGS, ids=str)
@pytest.mark.parametrize('named', [False, True])
def test_a_mark_means_what_it_is_said_to_mean(meaning, options, named):
    marks = list(meaning)
    write_photos(*(f'{i}.jpg' for i in range(len(marks))))
    write_rows(('image', *CLASSES), *((f'{i}.jpg', x, marks[0]) for i, x in enumerate(marks)))
    options = options + ['--label-columns', *CLASSES] * named
    images = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_csv, 'finish', lambda args, found, *rest: images.extend(found))
        from_csv.main(['labels.csv', '--images', 'photos', '--out', 'out', *options])
    found = [
        None if 'cat' in image.unknown_of(['cat']) else int('cat' in image.labels)
        for image in sorted(images, key=lambda image: image.path)
    ]
    assert found == list(meaning.values())


@pytest.mark.parametrize(
    'table, options, message',
    [
        ('image,cat\na.jpg,1\n', ['--unknown', '1', '--present', '1'], "--unknown both have '1'"),
        ('image,cat\na.jpg,1\n', ['--unknown', '0', '--absent', '0'], "--unknown both have '0'"),
        (
            'image,cat,dog\na.jpg,1,w\n', ['--absent', '0', '--unknown', '?'],
            "line 2: 'w' in the column 'dog' is neither '1', 'true' (--present) nor '0' "
            "(--absent) nor '?' (--unknown)",
        ),
        ('image,cat\na.jpg,1\n', ['--unlisted', 'unknown'], 'so none is unlisted: --unknown'),
        ('image,labels\na.jpg,cat\n', ['--unknown', '?'], 'of labels: --unknown is for cells'),
    ],
)  # fmt: skip
def test_what_cannot_be_unknown_is_refused_in_one_line(table, options, message):
    Path('labels.csv').write_text(table)
    write_photos('a.jpg')
    with pytest.raises(SystemExit) as error:
        convert(*options)
    assert message in error.value.code and '\n' not in error.value.code


def read_back(choices):
    """{image: (present, unknown)} of the classes that the table names."""
    images, classes, _ = read_images(
        read_tables([Path('labels.csv')]), Path('photos'), choices, False
    )
    classes = classes or sorted({label for image in images for label in image.labels})
    return classes, {x.path: (x.labels, {*x.unknown_of(classes)}) for x in images}


# of each (image, class): 1 present, 0 absent, None unknown
matrices = some.integers(1, 4).flatmap(
    lambda width: some.lists(
        some.lists(some.sampled_from([1, 0, None]), min_size=width, max_size=width),
        min_size=2,
        max_size=5,
    )
)


def wanted_of(matrix, names, classes):
    return {
        f'{i}.jpg': tuple(
            {name for name, x in zip(names, row) if x == value and name in classes}
            for value in (1, None)
        )
        for i, row in enumerate(matrix)
    }


@checked
@given(
    matrices,
    some.sampled_from([('1', '0'), ('True', 'False'), ('1', '-1'), ('yes', 'no'), ('x', '-')]),
    some.sampled_from(['?', '', 'nan', '9', 'not seen', 'u']),
)
def test_a_table_of_a_column_for_each_class_keeps_what_is_unknown(matrix, marks, unknown):
    names = [f'class {i}' for i in range(len(matrix[0]))]
    cells = {1: marks[0], 0: marks[1], None: unknown}
    write_photos(*(f'{i}.jpg' for i in range(5)))
    write_rows(('image', *names), *((f'{i}.jpg', *map(cells.get, x)) for i, x in enumerate(matrix)))
    said = Choices(labels=names, present=marks[:1], absent=marks[1:], unknown=[unknown])
    assert read_back(said) == (names, wanted_of(matrix, names, names))


@checked
@given(matrices, some.sampled_from(['rows', 'objects']), some.booleans())
def test_a_list_of_labels_keeps_what_is_unknown(matrix, form, say_unknown):
    """What an image does not list is unknown; in rows it may also be said."""
    names = [f'class {i}' for i in range(len(matrix[0]))]
    matrix = [[1] * len(names), *matrix]  # every class is there once
    write_photos(*(f'{i}.jpg' for i in range(6)))
    given = [{name: x for name, x in zip(names, row) if x is not None} for row in matrix]
    if form == 'objects':
        rows = [(f'{i}.jpg', json.dumps(item)) for i, item in enumerate(given)]
        write_rows(('image', 'labels'), *rows)
        choices = Choices(labels=['labels'], unlisted='unknown')
    else:
        shown = {1: '1', 0: '0', None: '?'}
        rows = [
            (f'{i}.jpg', name, shown[x])
            for i, row in enumerate(matrix)
            for name, x in zip(names, row)
            if say_unknown or x is not None
        ]
        write_rows(('image', 'label', 'Confidence'), *rows)
        unlisted = 'absent' if say_unknown else 'unknown'
        choices = Choices(sep='', unknown=['?'], unlisted=unlisted)
    images = {
        f'{i}.jpg'
        for i, row in enumerate(matrix)
        if form == 'objects' or say_unknown or any(x is not None for x in row)
    }
    wanted = wanted_of(matrix, names, names)
    assert read_back(choices) == (names, {name: wanted[name] for name in images})


def test_no_finding_says_that_all_is_absent_though_unlisted_is_unknown():
    write_rows(
        ('Image Index', 'Finding Labels'),
        ('a.jpg', 'cat|dog'),
        ('b.jpg', 'No Finding'),
        ('c.jpg', 'cat'),
    )
    write_photos('a.jpg', 'b.jpg', 'c.jpg')
    _, found = read_back(Choices(unlisted='unknown'))
    assert found == {
        'a.jpg': ({*CLASSES}, set()),
        'b.jpg': (set(), set()),
        'c.jpg': ({'cat'}, {'dog'}),
    }


def test_folders_of_which_others_are_unknown(capsys):
    write_photos(*(f'{name}/{name}{i}.png' for name in CLASSES for i in range(10)))
    folder = Path('photos')
    from_folder.main([str(folder), '--out', 'out', '--unlisted', 'unknown'])
    found = samples()
    assert len(found) == 20
    printed = capsys.readouterr().out
    for split in ('val', 'test'):
        fault = f'no class has a known positive and a known negative in {split}: no metric'
        assert f'warning: {fault} is defined on it\n' in printed
    assert 'negative in train: no metric' not in printed
    assert all(
        lists == ([name.split('/')[0]], [x for x in CLASSES if x != name.split('/')[0]])
        for name, lists in found.items()
    )


def test_texts_beside_images_of_which_others_are_unknown():
    write_photos(*(f'{i}.png' for i in range(20)))
    for i in range(20):
        text = [{'cat': 1, 'dog': 0}, {'dog': 1}][i % 2]
        Path(f'photos/{i}.txt').write_text(json.dumps(text))
    from_folder.main(['photos', '--sidecar', '--out', 'out', '--unlisted', 'unknown'])
    wanted = [(['cat'], []), (['dog'], ['cat'])]
    assert samples() == {f'{i}.png': wanted[i % 2] for i in range(20)}


@pytest.mark.parametrize('header', ['', 'LabelName,DisplayName\n'])
def test_codes_get_the_names_of_a_file_in_its_order(header):
    """Present, absent or unlisted; a code without a positive is no class."""
    write_photos(*(f'{i}.jpg' for i in range(20)))
    marks = [('/m/0a', 1, '/m/0z', 0), ('/m/0a', 0, '/m/0z', 1), ('/m/0z', 1, '/m/0n', 0)]
    rows = [(f'{i}.jpg', code, mark) for i in range(20) for code, mark in (
        marks[i % 3][:2], marks[i % 3][2:])]  # fmt: skip
    write_rows(('ImageID', 'LabelName', 'Confidence'), *rows)
    Path('names.csv').write_text(f'{header}/m/0z,"Zebra, plains"\n/m/0n,Never\n/m/0a,Ape\n')
    convert('--classes', 'names.csv', '--unlisted', 'unknown')
    assert Path('out/classes.txt').read_text() == 'Zebra, plains\nApe\n'
    wanted = [(['Ape'], []), (['Zebra, plains'], []), (['Zebra, plains'], ['Ape'])]
    assert samples() == {f'{i}.jpg': wanted[i % 3] for i in range(20)}
    Path('names.csv').write_text('/m/0z,Zebra\n/m/0a,Ape\n/m/0a,Gorilla\n')
    with pytest.raises(SystemExit, match="names.csv: '/m/0a' occurs twice"):
        convert('--classes', 'names.csv')
    Path('names.csv').write_text('Zebra\nApe\n')
    with pytest.raises(SystemExit, match='such as ./m/0a.*; lines such as CODE,NAME name numbers'):
        convert('--classes', 'names.csv')


def test_splits_and_a_class_without_a_negative_go_by_what_is_known(capsys):
    write_photos(*(f'{i}.jpg' for i in range(20)))
    splits = []
    for mark in ('0', '?'):
        rows = [(f'{i}.jpg', *('10' if i % 2 else f'{mark}1')) for i in range(20)]
        write_rows(('image', *CLASSES), *rows)
        convert()
        content = json.loads(Path('out/train.json').read_text())
        splits.append([item['img_path'] for item in content['data_list']])
    assert splits[0] == splits[1]
    printed = capsys.readouterr().out
    assert '1 has no known negative in train: cat\n' in printed
    assert printed.count('no known negative in train') == 1


def test_the_prior_of_a_class_counts_known_labels():
    """4 of 10 images show cat, 2 do not, 4 are unknown; dog is known in all, and there twice."""
    write_photos(*(f'{i}.jpg' for i in range(20)))
    cells = ['1'] * 4 + ['0'] * 2 + ['?'] * 4, ['1'] * 2 + ['0'] * 8
    rows = [(f'{i}.jpg', *(x[i % 10] for x in cells), ['train', 'val'][i > 9]) for i in range(20)]
    write_rows(('image', *CLASSES, 'split'), *rows)
    convert()
    cfg = Config.fromfile('out/out.py')
    assert cfg.model.head.prior_prob == pytest.approx(6 / 16, abs=1e-3)
    assert '0.60 of 2 labels, and 0.40 are unknown' in Path('out/out.py').read_text()


def test_unknown_of_an_image_is_what_is_neither_there_nor_known_to_be_absent():
    names = ['a', 'b', 'c', 'd']
    assert Image('x', {'a'}, '', unknown={'c'}).unknown_of(names) == ['c']
    assert Image('x', {'a'}, '', unknown={'c'}, absent={'b'}).unknown_of(names) == ['c']
    image = Image('x', {'a'}, '', unknown={'c'}, absent={'b'}, complete=False)
    assert image.unknown_of(names) == ['c', 'd']
    assert Image('x', {'a'}, '').unknown_of(names) == []


@checked
@given(some.data())
def test_unknown_labels_are_counted_as_loops_do(data):
    names = ['a', 'b', 'c', 'd']
    sets = some.sets(some.sampled_from([*names, 'no class']))
    images = [
        Image('x', labels, '', unknown=data.draw(sets) - labels, absent=data.draw(sets) - labels,
              complete=data.draw(some.booleans()))
        for labels in data.draw(some.lists(some.sets(some.sampled_from(names)), max_size=5))
    ]  # fmt: skip
    lists = [image.unknown_of(names) for image in images]
    expected = {x: count for x in names if (count := sum(x in one for one in lists))}
    assert count_unknown(images, names) == (expected, sum(len(one) == 4 for one in lists))


def test_what_is_known_of_an_image_is_stored_where_that_is_less():
    """Of Open Images' 9,605 classes nobody looked for nearly all."""
    number = 1000
    names = [f'class {i:03}' for i in range(number)]
    write_photos(*(f'{i}.jpg' for i in range(8)))
    rows = [
        (f'{i}.jpg', name, there)
        for i in range(8)
        for name, there in (('class 007', i % 2), ('class 900', 1 - i % 2))
    ]
    write_rows(('ImageID', 'LabelName', 'Confidence'), *rows)
    Path('names.txt').write_text('\n'.join(names))
    options = ['--classes', 'names.txt', '--val', '0.5', '--test', '0']
    found = convert('--unlisted', 'unknown', *options)
    unknown = [name for name in names if name not in ('class 007', 'class 900')]
    present = ['class 900'], ['class 007']
    assert found == {f'{i}.jpg': (present[i % 2], unknown) for i in range(8)}
    items = json.loads(Path('out/train.json').read_text())['data_list']
    pairs = [(x['gt_label'], x['gt_label_absent']) for x in items]
    assert sorted(pairs) == [([7], [900])] * 2 + [([900], [7])] * 2


# ---------------------------------------------------------------- JSON


def own(*items):
    data_list = [dict(img_path=path, gt_label=label, **more) for path, label, more in items]
    content = dict(metainfo=dict(classes=['tree', 'car', 'boat']), data_list=data_list)
    Path('train.json').write_text(json.dumps(content))
    return MultiLabelDataset(ann_file='train.json', data_prefix='photos', serialize_data=False)


@pytest.mark.parametrize(
    'labels, unknown, message',
    [
        (
            [0], [3], r"an unknown label outside 0..2 in 1 of 1 images, such as 'a.jpg': \[0\], "
            r'gt_label_unknown \[3\]',
        ),
        ([0], [-1], 'an unknown label outside 0..2'),
        ([0], [1, 1], 'an unknown label twice'),
        (
            [0, 1], [2, 1],
            r'a class in both gt_label and gt_label_unknown .* \[0, 1\], gt_label_unknown \[2, 1\]',
        ),
        ([0], None, 'no list of integers as gt_label_unknown .* gt_label_unknown None'),
        ([0], [True], 'no list of integers as gt_label_unknown'),
        ([0], 'car', 'no list of integers as gt_label_unknown'),
    ],
)  # fmt: skip
def test_an_unknown_label_that_is_none_is_named(labels, unknown, message):
    with pytest.raises(ValueError, match=f'train.json: {message}') as error:
        own(('a.jpg', labels, dict(gt_label_unknown=unknown)))
    assert '\n' not in str(error.value)


def test_classes_that_are_neither_present_nor_absent_are_unknown():
    dataset = own(
        ('a.jpg', [1], dict(gt_label_absent=[0])), ('b.jpg', [], dict(gt_label_absent=[])),
        ('c.jpg', [0], {}), ('d.jpg', [0], dict(gt_label_absent=[2, 1])),
    )  # fmt: skip
    infos = [dataset.get_data_info(i) for i in range(4)]
    assert [x.get('gt_label_unknown') for x in infos] == [[2], [0, 1, 2], None, []]
    assert not any('gt_label_absent' in x for x in infos)


@pytest.mark.parametrize(
    'more, message',
    [
        (dict(gt_label_absent=[3]), 'an absent label outside 0..2'),
        (dict(gt_label_absent=[0]), 'a class in both gt_label and gt_label_absent in 1 of'),
        (dict(gt_label_absent=None), 'no list of integers as gt_label_absent'),
        (dict(gt_label_absent=[1], gt_label_unknown=[2]), 'both gt_label_absent and gt_label_unkn'),
    ],
)  # fmt: skip
def test_an_absent_label_that_is_none_is_named(more, message):
    with pytest.raises(ValueError, match=f'train.json: {message}'):
        own(('a.jpg', [0], more))


def test_absent_labels_need_the_names_of_all_classes():
    Path('train.json').write_text(
        json.dumps(
            dict(metainfo={}, data_list=[dict(img_path='a', gt_label=[], gt_label_absent=[])])
        )
    )
    with pytest.raises(ValueError, match='gt_label_absent without classes in metainfo'):
        MultiLabelDataset(ann_file='train.json', data_prefix='photos')


def test_an_image_that_is_listed_again_with_other_unknown_labels_is_refused():
    unknown = dict(gt_label_unknown=[1, 2])
    own(('a.jpg', [0], unknown), ('a.jpg', [0], dict(gt_label_unknown=[2, 1])))
    with pytest.raises(
        ValueError, match=r"'a.jpg' is listed again .* \[0\], gt_label_unknown \[1, 2\]"
    ):
        own(('a.jpg', [0], unknown), ('a.jpg', [0], {}))


def test_a_part_of_a_data_set_keeps_what_is_unknown():
    dataset = own(*((f'{i}.jpg', [0], dict(gt_label_unknown=[1 + i % 2])) for i in range(6)))
    part = dataset.get_subset([5, 2])
    assert [part.get_data_info(i)['gt_label_unknown'] for i in range(2)] == [[2], [1]]


# ---------------------------------------------------------------- files of COCO's form


def lvis_oracle(content, classes):
    """{file: (present, unknown)}, pair by pair."""
    found = {}
    names = {category['id']: category['name'] for category in content['categories']}
    for image in content['images']:
        present, unknown = [], []
        for index, name in enumerate(classes):
            (number,) = (key for key, value in names.items() if value == name)
            annotated = any(
                item['image_id'] == image['id'] and item['category_id'] == number
                for item in content['annotations']
            )
            if annotated or number in image.get('pos_category_ids', []):
                present.append(index)
            elif 'neg_category_ids' in image or 'pos_category_ids' in image:
                if number not in image.get('neg_category_ids', []):
                    unknown.append(index)
            elif number in image.get('not_exhaustive_category_ids', []):
                unknown.append(index)
        found[image['file_name']] = present, unknown
    return found


def found_in(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {Path(x['img_path']).name: (x['gt_label'], x.get('gt_label_unknown', [])) for x in infos}


@pytest.mark.parametrize('seed', range(8))
def test_what_lvis_and_open_images_did_not_look_for_is_unknown(seed, tmp_path, log):
    generator = np.random.default_rng(seed)
    content = coco_content()
    ids = [number for number, _ in COCO_IDS]
    for image in content['images']:
        there = {x['category_id'] for x in content['annotations'] if x['image_id'] == image['id']}
        for key in ('pos_category_ids', 'neg_category_ids', 'not_exhaustive_category_ids'):
            free = [x for x in ids if key == 'not_exhaustive_category_ids' or x not in there]
            if generator.random() < 0.5:
                image[key] = [x for x in free if generator.random() < 0.4]
                there |= {*image[key]} if key == 'pos_category_ids' else set()
        partly = set(image.get('not_exhaustive_category_ids', ()))
        if 'neg_category_ids' in image:
            image['neg_category_ids'] = [x for x in image['neg_category_ids'] if x not in partly]
    kwargs = dict(write_coco(tmp_path, content), serialize_data=False)
    partly = sum(any(key.endswith('category_ids') for key in x) for x in content['images'])
    for _ in range(2):  # parsed, and from the cache
        assert found_in(COCOMultiLabel(**kwargs)) == lvis_oracle(content, COCO_CLASSES['classes'])
    said = [line.partition('.json: ')[2] for line in log if 'not searched' in line]
    words = f'{partly} images were not searched for every class; the other classes are unknown'
    assert said == [words] * 2 * bool(partly)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(neg_category_ids=[24]), "'c.jpg' has the category 24, which is among its neg_c"),
        (dict(neg_category_ids=[7]), r"'c.jpg' has the neg_category_ids \[7\], expected ids of"),
        (dict(pos_category_ids=24), "'c.jpg' has the pos_category_ids 24, expected"),
        (dict(not_exhaustive_category_ids=[[1]]), r'has the not_exhaustive_category_ids \[\[1'),
        (dict(neg_category_ids=None), 'has the neg_category_ids None, expected'),
    ],
)  # fmt: skip
def test_labels_of_whole_images_that_make_no_sense_are_named(tmp_path, change, message, log):
    content = coco_content()
    content['images'][0].update(change)
    with pytest.raises(ValueError, match=f'instances.json: the image .*{message}'):
        COCOMultiLabel(**write_coco(tmp_path, content))


def test_an_absent_category_that_is_no_class_is_no_label():
    image = dict(file_name='a.jpg', neg_category_ids=[3, 9])
    assert known_absent(image, set(), {9: 0}, 'lvis.json') == [0]


def test_an_image_listed_again_with_other_absent_classes_is_refused(tmp_path, log):
    content = coco_content()
    content['images'] += [dict(id=8, file_name='b.jpg', neg_category_ids=[1])]
    with pytest.raises(
        ValueError, match=r'b.jpg is listed again .* \[0\] and all others known to be absent'
    ):
        COCOMultiLabel(**write_coco(tmp_path, content))
