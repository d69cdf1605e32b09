"""A user's own images: tables and folders become data sets, and the tutorial's commands run."""

import itertools
import json
import os
import random
import re
import shlex
import sys
import time
from collections import Counter
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mlic.comparison.tuning import TUNED, Rate
from mlic.datasets.list_files import list_images
from mlic.datasets.own_data.config import config_text
from mlic.datasets.own_data.labels import (
    SIMILAR,
    describe_counts,
    find_typos,
    normalise,
    order_classes,
)
from mlic.datasets.own_data.splits import (
    SPLITS,
    Image,
    choose_splits,
    find_split_names,
    stratify,
)
from mlic.installation import command_words
from tests.helpers import ROOT, call_tool, locked_elsewhere, run_tool

TOOLS = ROOT / 'tools' / 'dataset_tools'
pytestmark = pytest.mark.usefixtures('empty_folder')
DOCUMENT = ROOT / 'docs' / 'datasets.md'

# what makes training a matter of seconds
TINY = [
    'model.backbone.pretrained=False',
    'model.backbone.out_stage=3',
    'model.backbone.frozen_stages=3',
    'model.neck.in_channels=40',
    'model.neck.embed_dims=16',
    'model.neck.feedforward_channels=16',
    'model.head.in_channels=16',
    'model.head.proj_channels=8',
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
]


def from_csv(*arguments):
    run_tool(TOOLS / 'from_csv.py', 'labels.csv', '--images', 'photos', *arguments)


def from_folder(*arguments):
    run_tool(TOOLS / 'from_folder.py', 'photos', '--out', 'out', *arguments)


def write_images(names, folder='photos'):
    """Small images, no two alike."""
    for number, name in enumerate(names):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((24, 32, 3), number, np.uint8)
        image[4:12, 4:12] = 255 - number
        path.write_bytes(cv2.imencode('.png', image)[1].tobytes())


def write_table(text, names=None):
    """A CSV and the images that it names."""
    content = text.encode() if isinstance(text, str) else text
    Path('labels.csv').write_bytes(content)
    write_images(names or ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'])


def write_rows(rows, columns='image,labels'):
    """A CSV of what follows the names of its images, 0.jpg and so on; the names."""
    names = [f'{i}.jpg' for i in range(len(rows))]
    write_table('\n'.join([columns, *(f'{n},{row}' for n, row in zip(names, rows))]), names)
    return names


def labels_of(out='out'):
    """{image: (split, its labels in words)} of what a tool has written."""
    found = {}
    for split in ('train', 'val', 'test'):
        path = Path(out, f'{split}.json')
        if path.exists():
            content = json.loads(path.read_text(encoding='utf-8'))
            names = content['metainfo']['classes']
            for item in content['data_list']:
                assert item['img_path'] not in found
                found[item['img_path']] = (split, [names[label] for label in item['gt_label']])
    return found


def words_of():
    """{image: its labels in words}."""
    return {name: labels for name, (_, labels) in labels_of().items()}


WANTED = {'a.jpg': ['cat', 'dog'], 'b.jpg': ['cat'], 'c.jpg': [], 'd.jpg': ['dog']}


FORMS = {
    'semicolon': 'image,labels\na.jpg,cat;dog\nb.jpg,cat\nc.jpg,\nd.jpg,dog\n',
    'bar': 'image,labels\na.jpg,dog|cat|dog\nb.jpg,cat|\nc.jpg,\nd.jpg,dog',  # no final newline
    'quoted': 'image,labels\na.jpg,"cat, dog"\nb.jpg,"cat"\nc.jpg,""\nd.jpg,dog\n',
    'bom-crlf': '\ufeffimage,labels\r\na.jpg,cat;dog\r\n\r\nb.jpg,cat\r\nc.jpg,\r\nd.jpg,dog\r\n',
    'european': 'filename;tags\na.jpg;cat,dog\nb.jpg;cat\nc.jpg;\nd.jpg;dog\n',
    'list': "image,labels\na.jpg,\"['cat', 'dog']\"\nb.jpg,['cat']\nc.jpg,[]\nd.jpg,['dog']\n",
    'tab': 'image\tlabels\na.jpg\tcat;dog\nb.jpg\tcat\nc.jpg\t\nd.jpg\tdog\n',
    'matrix': 'image,cat,dog\na.jpg,1,1\nb.jpg,1,0\nc.jpg,0,0\nd.jpg,0,1\n',
    'index-column': ',Image Name,cat,dog\n0,a.jpg,1.0,1\n1,b.jpg,1,0\n2,c.jpg,0,0\n3,d.jpg,0,1\n',
    'names': 'image,labels\na,cat;dog\nphotos/b.jpg,cat\n./c.jpg,\nD.JPG,dog\n',
    'order': 'labels,image,comment\ncat;dog,a.jpg,x\ncat,b.jpg,\n,c.jpg,\ndog,d.jpg,\n',
}


@pytest.mark.parametrize('name', FORMS)
def test_usual_forms_of_a_table_mean_the_same(name):
    write_table(FORMS[name])
    from_csv('--out', 'out', '--val', '0', '--test', '0.3')
    assert words_of() == WANTED
    assert Path('out/classes.txt').read_text() == 'cat\ndog\n'


def test_blanks_separate_labels_only_where_words_come_again(capsys):
    for cells, classes in (
        (['clear road', 'clear', 'road', 'haze clear road'], ['clear', 'haze', 'road']),
        (['traffic light', 'stop sign', 'car', 'car'], ['car', 'stop sign', 'traffic light']),
    ):
        write_rows(cells)
        from_csv('--out', 'out', '--val', '0', '--test', '0.3')
        assert Path('out/classes.txt').read_text().splitlines() == classes
    assert 'separated by blanks' in capsys.readouterr().out


def test_names_beyond_ascii_are_one_name_in_either_normal_form(capsys):
    composed, decomposed = 'caf\u00e9', 'cafe\u0301'
    write_table(
        f'image,labels\n{composed}.jpg,{decomposed};海\nb.jpg,{composed}\nc.jpg,海;Ωmega\n',
        [f'{decomposed}.jpg', 'b.jpg', 'c.jpg'],
    )
    from_csv('--out', 'out', '--val', '0', '--test', '0.4')
    assert labels_of()[f'{decomposed}.jpg'][1] == [composed, '海']
    assert Path('out/classes.txt').read_text(encoding='utf-8').split() == [composed, 'Ωmega', '海']


def test_given_splits_are_kept_and_validation_is_cut_from_training(capsys):
    rows = [f'{("dog", "cat")[i % 2]},{"Train" if i < 15 else "testing"}' for i in range(20)]
    names = write_rows(rows, 'image,labels,split')
    from_csv('--out', 'out', '--val', '0.2')
    splits = {name: split for name, (split, _) in labels_of().items()}
    assert {name for name, split in splits.items() if split == 'test'} == set(names[15:])
    assert Counter(splits.values()) == dict(train=12, val=3, test=5)
    said = 'split: as given; 20% of the training images (seed 0) are for validation'
    assert said in capsys.readouterr().out


def write_tables(names):
    """A table for each name, of 8 images each; {image: the name of its table}."""
    tables = {}
    for number, name in enumerate(names):
        images = [f'{number}_{i}.jpg' for i in range(8)]
        rows = [f'{image},{("cat", "dog")[i % 2]}\n' for i, image in enumerate(images)]
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(''.join(['image,labels\n', *rows]))
        tables |= dict.fromkeys(images, name)
    write_images(tables)
    return tables


@pytest.mark.parametrize(
    'splits',
    [
        {'train1.csv': 'train', 'train2.csv': 'train', 'test.csv': 'test'},
        {'trainval.csv': 'train', 'test.csv': 'test'},
        {'cats_train2017.csv': 'train', 'cats_val2017.csv': 'val'},
        {'train_2.csv': 'train', 'val_2.csv': 'val', 'test-03.csv': 'test'},
        {'train1/a.csv': 'train', 'valid1/a.csv': 'val', 'test1.csv': 'test'},
    ],
)
def test_the_names_of_tables_are_their_splits(splits):
    tables = write_tables(splits)
    run_tool(TOOLS / 'from_csv.py', *splits, '--images', 'photos', '--out', 'out', '--val', '0')
    found = {name: split for name, (split, _) in labels_of().items()}
    assert found == {image: splits[table] for image, table in tables.items()}


def test_the_folder_of_a_table_is_its_split_also_where_one_works_in_it(monkeypatch):
    write_tables(['train/a.csv', 'test/a.csv'])
    monkeypatch.chdir('train')
    assert find_split_names({Path('a.csv'), Path('../test/a.csv')}) == {
        Path('a.csv'): 'train',
        Path('../test/a.csv'): 'test',
    }


@pytest.mark.parametrize(
    ('names', 'without'),
    [
        (['train.csv', 'test.csv', 'extra.csv'], 'extra.csv'),
        (['more.csv', 'train.csv', 'extra.csv'], 'extra.csv, more.csv'),
        # the folder of all tables is no split of one
        (['test/train.csv', 'test/extra.csv'], 'test/extra.csv'),
    ],
)
def test_a_table_without_a_split_among_those_with_one_is_refused(names, without):
    write_tables(names)
    with pytest.raises(SystemExit) as error:
        run_tool(TOOLS / 'from_csv.py', *names, '--images', 'photos', '--out', 'out')
    assert f'no split in the name of {without}, though' in error.value.code
    assert 'train_2.csv' in error.value.code and '\n' not in error.value.code
    assert not Path('out').exists()


def test_tables_for_validation_and_test_alone_are_not_pooled():
    write_tables(['val.csv', 'test.csv'])
    with pytest.raises(SystemExit, match='their names say test, val, and none says train: add'):
        run_tool(TOOLS / 'from_csv.py', 'val.csv', 'test.csv', '--images', 'photos', '--out', 'out')
    assert not Path('out').exists()


def test_tables_without_a_split_in_any_name_are_shared_out_at_random(capsys):
    write_tables(['a.csv', 'b.csv'])
    run_tool(TOOLS / 'from_csv.py', 'a.csv', 'b.csv', '--images', 'photos', '--out', 'out')
    assert 'split: chosen at random (seed 0)' in capsys.readouterr().out


def test_what_looks_odd_is_said(capsys):
    write_table('image,labels\na.jpg,Cat;nan\nb.jpg,cat\nc.jpg,cat;dog\n')
    from_csv('--out', 'out', '--val', '0', '--test', '0.3')
    printed = capsys.readouterr().out
    assert "several spellings? 'Cat', 'cat'" in printed
    assert "are these labels, or was the text split in the wrong place? 'nan'" in printed
    assert 'without a row: 1 more in photos, left out' in printed
    assert '4 of 4 classes have fewer than 10 training images' in printed
    assert 'in test' in printed and 'in val' not in printed


def test_a_rare_label_that_looks_like_a_frequent_one_is_named(capsys):
    write_rows(['tree'] * 14 + ['treee'] + ['cat'] * 14 + ['cow'])
    from_csv('--out', 'out')
    printed = capsys.readouterr().out
    assert 'spellings' not in printed
    assert "'treee' (1) looks like 'tree' (14)" in printed
    assert printed.count('looks like') == 1


@pytest.mark.parametrize('seed', range(20))
def test_typos_are_what_difflib_finds(seed):
    generator = random.Random(seed)
    names = [''.join(generator.choices('abé海 ', k=generator.randint(1, 9))) for _ in range(60)]
    rare, frequent = names[:30], names[30 : 30 + 2 * seed]
    assert list(find_typos(rare, frequent)) == [
        (name, other) for name in rare for other in get_close_matches(name, frequent, 1, SIMILAR)
    ]


def test_thousands_of_classes_take_less_than_a_second():
    generator = random.Random(0)
    classes = [''.join(generator.choices('abcdefghijklmnop', k=8)) for _ in range(4000)]
    images = [
        Image(f'{i}.jpg', {*generator.choices(classes, k=3), classes[i % 400]}, '')
        for i in range(8000)
    ]
    classes = order_classes(images, None)
    start = time.process_time()
    choose_splits(images, 0.1, 0.2, 0)
    assert list(describe_counts(images, classes))
    assert time.process_time() - start < 1  # 0.13 here; 2 where all pairs were compared


def test_a_spelling_that_differs_in_case_is_named_once(capsys):
    write_rows(['tree'] * 14 + ['Tree'] + ['cat'] * 14)
    from_csv('--out', 'out')
    printed = capsys.readouterr().out
    assert "one label in several spellings? 'Tree', 'tree'" in printed
    assert 'looks like' not in printed


@pytest.mark.parametrize('unseen', ['\u200b', '\u00ad', '\u2060', '\u200d', '\ufeff'])
def test_a_spelling_that_differs_in_a_character_nobody_sees_is_named(unseen, capsys):
    write_rows(['cat', f'ca{unseen}t', 'dog', 'dog'])
    from_csv('--out', 'out', '--val', '0', '--test', '0.3')
    names = f"'cat', {f'ca{unseen}t'!r}"
    assert f'warning: one label in several spellings? {names}' in capsys.readouterr().out


def test_what_nobody_sees_around_a_name_is_no_part_of_it():
    assert normalise(' \ufeff cat\u200b ') == 'cat'


def test_names_that_look_like_a_wrong_cut_are_in_one_warning(capsys):
    names = ['[cat', "'dog'", 'a, b', '12', 'x)', 'rock (big)', "driver's seat", 'a "b"', 'fine']
    names += ['!dog', 'cat:0.9']
    write_rows([json.dumps([name]).replace('"', '""').join('""') for name in names * 2])
    from_csv('--out', 'out', '--val', '0', '--test', '0.4')
    warning = next(
        x for x in capsys.readouterr().out.splitlines() if 'split in the wrong place' in x
    )
    assert all(repr(name) in warning for name in [*names[:5], names[7], *names[9:]])
    assert not any(repr(name) in warning for name in [*names[5:7], 'fine'])


def test_a_name_with_a_line_break_is_never_written():
    write_rows(['"[""cat\\ndog""]"', '"[""fish""]"'])
    with pytest.raises(SystemExit, match=r"line 2: the label 'cat\\ndog' has a line break"):
        from_csv('--out', 'out', '--val', '0', '--test', '0.5')
    assert not Path('out').exists()


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_a_given_split_without_a_label_is_refused(split):
    rows = [f'{"" if part == split else "cat"},{part}' for part in ('train', 'val', 'test') * 3]
    write_rows(rows, 'image,labels,split')
    with pytest.raises(SystemExit, match=f'none of the 3 images for {split} has a label'):
        from_csv('--out', 'out')
    assert not Path('out').exists()


def test_a_share_without_an_image_says_why():
    write_rows([f'c{i}' for i in range(20)])
    with pytest.raises(SystemExit) as error:
        from_csv('--out', 'out')
    assert (
        '20 images: too few for 10% in val, which would be 2 images: each class is split in '
        'proportion; classes with fewer than 10 images: 20 of 20. Give a larger --val'
    ) in error.value.code


def test_validation_images_that_also_test_are_named(capsys):
    write_rows(['cat', 'dog'] * 10)
    from_csv('--out', 'out', '--test', '0')
    assert 'warning: no test images, the validation images take' in capsys.readouterr().out


def test_all_files_are_written_or_none(monkeypatch):
    write_rows(['cat', 'dog'] * 10)
    from_csv('--out', 'out')
    before = {path: path.read_bytes() for path in Path('out').iterdir()}
    write_rows(['bird', 'fish'] * 10)
    calls = itertools.count(1)

    def is_full(descriptor):
        if next(calls) == 4:
            raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('mlic.files.os.fsync', is_full)
        with pytest.raises(SystemExit, match=r'was not written \(No space left on device\)'):
            from_csv('--out', 'out')
    assert {path: path.read_bytes() for path in Path('out').iterdir()} == before


def test_a_second_process_does_not_write_between_the_files_of_the_first():
    write_rows(['cat', 'dog'] * 10)
    with locked_elsewhere('out'):
        with pytest.raises(SystemExit, match='^error: out is in use by another process'):
            from_csv('--out', 'out')
        assert os.listdir('out') == ['.lock']


def test_checkpoints_of_an_earlier_training_are_named(capsys):
    write_rows(['cat'] * 10)
    from_csv('--out', 'data/pets')
    assert 'has checkpoints' not in capsys.readouterr().out
    Path('work_dirs/pets').mkdir(parents=True)
    Path('work_dirs/pets/epoch_1.pth').touch()
    from_csv('--out', 'data/pets')
    printed = capsys.readouterr().out
    assert 'work_dirs/pets has checkpoints of an earlier training: remove it, or' in printed


def test_what_a_split_says_nothing_of_is_said():
    there = {
        'train': 10 * [{'cat'}, {'cow'}, {'dog'}],
        'val': [{'cat', 'dog'}, *5 * [{'cat'}]],
        'test': 6 * [{'cat', 'cow', 'dog'}],
    }
    images = [Image('', labels, '', split) for split, part in there.items() for labels in part]
    lines = describe_counts(images, ['cat', 'cow', 'dog'])
    assert [line for line in lines if line[0] != ' '] == [
        '1 has none in val: cow',
        '1 has no known negative in val: cat',
        '1 has fewer than 5 in val: its AP depends on a handful of images',
        '3 have no known negative in test: cat, cow, dog',
    ]


def test_classes_with_few_images_to_choose_and_to_test_by_are_counted(capsys):
    write_rows(['cat', 'cat;dog'] * 20)
    from_csv('--out', 'out', '--val', '0.1', '--test', '0.2')
    printed = capsys.readouterr().out
    assert '2 have fewer than 5 in val' in printed  # 4 images in all
    assert '1 has fewer than 5 in test: its AP' in printed  # 8 with cat, 4 with dog
    config = Config.fromfile('out/out.py')
    assert config.default_hooks.logger.interval == 3  # of 14 batches an epoch
    assert config.default_hooks.checkpoint.save_best


@pytest.mark.parametrize(
    'table, options, message',
    [
        ('', '', 'labels.csv is empty'),
        ('image,labels\n', '', "found columns ['image', 'labels'] and 0 rows"),
        ('a.jpg,cat\nb.jpg,dog\n', '', 'line 1: [\'a.jpg\', \'cat\'] looks like an image'),
        ('image,labels\na.jpg,cat\na.jpg,dog\n', '', 'a.jpg is listed twice, in line 2 and'),
        ('image,labels\na.jpg,cat\n\n./a.jpg,dog\n', '', 'in line 2 and in line 4'),
        ('image,labels\na.jpg,cat\nz.jpg,dog\n', '', "1 of 2 images are not in photos: 'z.jpg'"),
        ('image,labels\ny.jpg,cat\nz.jpg,dog\n', '', 'none of the 2 images of column'),
        ('image,labels\na.jpg,cat,dog\n', '', 'line 2: 3 cells, but the header has 2'),
        ('image,labels\na.jpg,cat;dog\nb.jpg,cat|dog\n', '', 'which separates labels: ; or |'),
        ('image,cat,dog\na.jpg,1,0\nb.jpg,1,x\n', '', "--present 1 x --absent 0"),
        ('image,cat,dog\na.jpg,1,0\nb.jpg,1,-\n', '', "--present 1 --absent 0 -"),
        ('image,cat,cat\na.jpg,1,0\n', '', "line 1: the column 'cat' occurs twice"),
        ('image,labels,split\na.jpg,cat,train\nb.jpg,cat,holdout\n', '', "line 3: split 'holdout'"),
        ('image,labels,split\na.jpg,cat,test\n', '', 'no image is in the split train'),
        ('image,labels\na.jpg,\nb.jpg,\n', '', 'none of the 2 images has a label'),
        ('image,labels\na.jpg,"cat\nb.jpg,dog\n', '', 'line 3: unexpected end of data'),
        (b'image,labels\na.jpg,caf\xe9\n', '', 'labels.csv, line 2: not UTF-8; save the'),
        ('image,labels\na.jpg,cat\n', '', '1 image: too few for 10% in val'),
        ('image,labels\na.jpg,cat\n', '--val 0 --test 0', 'all images are for training'),
        ('image,labels\na.jpg,cat\n', '--classes few.txt', "labels are not in few.txt, such as 'c"),
        ('image,labels\na.jpg,dog\n', '--classes twice.txt', "twice.txt: 'dog' occurs twice"),
    ],
)  # fmt: skip
def test_a_table_that_makes_no_sense_is_an_error_of_one_line(table, options, message):
    write_table(table)
    Path('few.txt').write_text('dog\n')
    Path('twice.txt').write_text('dog\ncat\ndog\n')
    with pytest.raises(SystemExit) as error:
        from_csv('--out', 'out', *options.split())
    assert message in error.value.code
    assert '\n' not in error.value.code
    assert not Path('out').exists()


@pytest.mark.parametrize('table', ['image,labels\na.jpg,cat\n{},dog\n', '{}\na\n'])
def test_a_message_leaves_out_the_middle_of_what_is_long(table):
    """Whatever looks through a message of 100,000 letters once from each of them takes minutes."""
    write_table(table.format('x' * 100_000))
    with pytest.raises(SystemExit) as error:
        from_csv('--out', 'out')
    assert 'xxx...xxx' in error.value.code and len(error.value.code) < 600


def test_missing_images_can_be_skipped_and_are_counted(capsys):
    write_table('image,labels\na.jpg,cat\nz.jpg,dog\nb.jpg,cat;dog\n')
    from_csv('--out', 'out', '--val', '0', '--test', '0.4', '--skip-missing')
    assert set(labels_of()) == {'a.jpg', 'b.jpg'}
    assert '1 of 3 rows skipped, their image is missing' in capsys.readouterr().out


@pytest.mark.parametrize('tool', ['from_csv.py', 'from_folder.py'])
def test_images_that_cannot_be_read_can_be_left_out_and_are_all_listed(tool, capsys):
    names = [f'{"cat" if i % 2 else "dog"}/{i:02}.png' for i in range(30)]
    write_images(names)
    Path('labels.csv').write_text(
        'image,labels\n' + ''.join(f'{name},{name[:3]}\n' for name in names)
    )
    damaged = names[:12]
    for number, name in enumerate(damaged):
        path = Path('photos', name)
        path.write_bytes([b'', path.read_bytes()[:-20], f'<html>{number}'.encode()][number % 3])
    given = ['labels.csv', '--images'] if tool == 'from_csv.py' else []
    run = partial(run_tool, TOOLS / tool, *given, 'photos', '--out', 'out', '--val', '0')
    run()
    assert set(words_of()) == set(names)
    with pytest.raises(SystemExit):
        run_tool(TOOLS / 'verify_dataset.py', 'out/out.py')
    assert 'leave such images out with --skip-unreadable' in capsys.readouterr().out

    run('--skip-unreadable')
    assert set(words_of()) == set(names) - set(damaged)
    said = capsys.readouterr().out
    assert '12 of 30 images cannot be read (left out)\n  photos/' in said
    assert f'all are in {Path("out/unreadable.txt")}\n' in said
    listed = [line.split(': ')[0] for line in Path('out/unreadable.txt').read_text().splitlines()]
    assert sorted(listed) == sorted(f'photos/{name}' for name in damaged)
    run_tool(TOOLS / 'verify_dataset.py', 'out/out.py')
    for name in names:
        Path('photos', name).write_bytes(name.encode())
    with pytest.raises(SystemExit, match='none of the 30 images can be read: photos/'):
        run('--skip-unreadable')


@pytest.mark.parametrize('workers', [0, 1])
def test_training_stopped_by_an_unreadable_image_says_what_lists_all_of_them(workers):
    write_images([f'{"cat" if i % 2 else "dog"}/{i}.png' for i in range(20)])
    from_folder()
    for path in Path('photos').glob('*/*'):
        path.write_bytes(b'<html>')
    options = '--cfg-options', *TINY, f'train_dataloader.num_workers={workers}'
    code = call_tool('tools/train.py', 'out/out.py', '--work-dir', 'run', *options)
    assert re.fullmatch(
        r'error: photos/\S+\.png: not an image .* listed by: .*verify_dataset\.py out/out\.py', code
    )


@pytest.mark.parametrize('tool', ['from_csv.py', 'from_folder.py'])
def test_a_link_to_itself_to_write_to_is_an_error_of_one_line(tool):
    write_table('image,labels\na.jpg,cat\nb.jpg,dog\nc.jpg,cat;dog\n')
    Path('loop').symlink_to('loop')
    inputs = ['labels.csv', '--images', 'photos'] if tool == 'from_csv.py' else ['photos']
    message = call_tool(TOOLS / tool, *inputs, '--out', 'loop', '--test', '0.4')
    assert re.fullmatch(r'error: .*', message)


def test_a_table_that_is_not_there_ends_in_one_line():
    message = call_tool(TOOLS / 'from_csv.py', 'no.csv', '--images', '.', '--out', 'out')
    assert re.fullmatch(r'error: .*no\.csv.*', message)


def random_labels(seed, images=300, classes=12):
    """Images with labels whose frequencies differ by a factor of 50."""
    generator = random.Random(seed)
    chances = [0.5 / 50 ** (label / (classes - 1)) for label in range(classes)]
    return [
        {f'class{label}' for label, chance in enumerate(chances) if generator.random() < chance}
        for _ in range(images)
    ]


@pytest.mark.parametrize('seed', range(5))
def test_stratification_shares_every_class_out(seed):
    labels = random_labels(seed)
    shares = dict(train=0.7, val=0.1, test=0.2)
    splits = stratify(labels, shares, seed)
    assert splits == stratify(labels, shares, seed)
    assert splits != stratify(labels, shares, seed + 1)
    counts = Counter(splits)
    for split, share in shares.items():
        # an image is placed for its rarest label only; the others make up for it to within a few
        assert abs(counts[split] - share * len(labels)) <= 6
        for label in set().union(*labels):
            total = sum(label in names for names in labels)
            got = sum(label in names for names, s in zip(labels, splits) if s == split)
            assert abs(got - share * total) <= max(3, 0.15 * total), (split, label)


@pytest.mark.parametrize('seed', range(5))
def test_images_of_a_group_get_one_split_and_classes_are_still_shared_out(seed):
    labels = random_labels(seed)
    generator = random.Random(seed)
    groups = [generator.choice([None, *map(str, range(80))]) for _ in labels]
    shares = dict(train=0.7, val=0.1, test=0.2)
    splits = stratify(labels, shares, seed, groups)
    assert splits == stratify(labels, shares, seed, groups)
    pairs = {pair for pair in zip(groups, splits) if pair[0] is not None}
    assert len(pairs) == len({group for group, _ in pairs})
    largest = max(Counter(filter(None, groups)).values())
    for split, share in shares.items():
        assert abs(splits.count(split) - share * len(labels)) <= 2 * largest
        for label in set().union(*labels):
            total = sum(label in names for names in labels)
            got = sum(label in names for names, s in zip(labels, splits) if s == split)
            assert abs(got - share * total) <= max(largest, 0.15 * total), (split, label)


def test_the_images_of_an_earlier_data_set_keep_their_split_when_more_come(capsys):
    rows = [('cat', 'dog', 'cat;dog')[i % 3] for i in range(30)]
    write_rows(rows)
    from_csv('--out', 'out')
    earlier = {name: split for name, (split, _) in labels_of().items()}
    names = write_rows([*rows, *['snow'] * 10, *['cat;snow'] * 10])
    from_csv('--out', 'later', '--seed', '1', '--splits-of', 'out')
    later = {name: split for name, (split, _) in labels_of('later').items()}
    assert later.items() > earlier.items()
    assert Counter(later[name] for name in names[30:]) == dict(train=14, val=2, test=4)
    assert '30 of the 30 images of out are here, and stay' in capsys.readouterr().out


def test_the_images_of_a_group_follow_those_of_an_earlier_data_set():
    write_rows(['cat,val', 'dog,train', 'cat,test'], 'image,labels,split')
    from_csv('--out', 'out')
    rows = [f'{("cat", "dog")[i % 2]},{i % 3}' for i in range(30)]
    names = write_rows(rows, 'image,labels,patient')
    from_csv('--out', 'out', '--splits-of', 'out', '--group-column', 'patient')
    expected = ['val', 'train', 'test'] * 10
    assert [labels_of()[name][0] for name in names] == expected


def test_what_contradicts_the_split_of_an_earlier_data_set_is_said(capsys):
    write_rows(['cat', 'dog'] * 15)
    from_csv('--out', 'out', '--val', '0')
    earlier = labels_of()
    from_csv('--out', 'same', '--splits-of', 'out')  # none is taken for validation
    assert labels_of('same') == earlier
    write_rows([f'{("cat", "dog")[i % 2]},{i % 3}' for i in range(30)], 'image,labels,patient')
    from_csv('--out', 'same', '--splits-of', 'out', '--group-column', 'patient')
    assert 'has images of one group in different splits (3 of 3,' in capsys.readouterr().out
    write_rows(['cat,train', 'dog,test'] * 15, 'image,labels,split')
    with pytest.raises(SystemExit, match=r'line \d+: \d+.jpg is given as \w+, but out has it in'):
        from_csv('--out', 'new', '--splits-of', 'out')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            '{"data_list": [{"img_path": "z.jpg"}]}',
            "none of its 1 images, such as 'z.jpg', is among",
        ),
        ('{"data_list": []}', 'out: none of its 0 images is among these 4'),
        ('[]', 'out/train.json: not labels that from_csv.py wrote'),
        (None, 'out/train.json'),
    ],
)
def test_splits_of_no_such_data_set_are_an_error_of_one_line(content, message):
    write_table('image,labels\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n')
    Path('out').mkdir()
    if content:
        Path('out/train.json').write_text(content)
    with pytest.raises(SystemExit) as error:
        from_csv('--out', 'new', '--splits-of', 'out')
    assert message in error.value.code and '\n' not in error.value.code


@pytest.mark.parametrize('given', ['', ',train'])
def test_pictures_of_one_patient_are_written_to_one_split(given, capsys):
    patients = [f'{i // 3}{".0" * (i % 3 == 2)}' for i in range(30)]  # as of two programs
    rows = [f'{["cat", "dog"][i % 2]},{patients[i]}{given}' for i in range(30)]
    names = write_rows(rows, 'image,labels,patient' + ',split' * bool(given))
    from_csv('--out', 'out', '--group-column', 'patient', '--val', '0.2')
    split_of = {name: split for name, (split, _) in labels_of().items()}
    sizes = Counter(split_of.values())
    assert sizes['val'] == 6 and sizes['test'] == (0 if given else 6)
    for first in range(0, 30, 3):
        assert len({split_of[name] for name in names[first : first + 3]}) == 1
    assert "images with the same 'patient', 10 in all" in capsys.readouterr().out


def test_groups_too_few_to_split_are_said_to_be():
    images = [Image(f'{i}.jpg', {'cat'}, '', group=str(i % 2)) for i in range(40)]
    with pytest.raises(ValueError, match='40 images of 2 groups: too few groups for 10% in val'):
        choose_splits(images, 0.1, 0.2, 0)


def test_a_split_without_a_label_gets_a_group_that_training_can_spare():
    labels = [{'cat'}, {'cat'}, {'cat'}, {'cat'}, set(), set()]
    groups = ['a', 'a', 'b', 'b', 'c', 'c']
    for seed in range(20):
        splits = stratify(labels, dict(train=0.8, test=0.2), seed, groups)
        assert splits[0] == splits[1] != splits[2] == splits[3], splits
        assert splits[4] == splits[5] == 'train'


@pytest.mark.parametrize('seed', range(20))
def test_every_split_has_a_label_where_training_can_spare_one(seed):
    labels = [{'cat'}, {'cat'}, {'cat'}, {'cat', 'dog'}, {'dog'}, set(), set(), set()]
    splits = stratify(labels, dict(train=0.75, val=0.125, test=0.125), seed)
    for split in ('train', 'val', 'test'):
        assert any(names for names, part in zip(labels, splits) if part == split)
    assert Counter(splits) == dict(train=6, val=1, test=1)


@pytest.mark.parametrize('seed', range(20))
def test_the_last_training_image_of_a_class_is_not_spared(seed):
    splits = stratify([{'cat'}, {'cat'}, *[set()] * 6], dict(train=0.5, val=0.25, test=0.25), seed)
    assert 'train' in splits[:2]


@pytest.mark.parametrize('seed', range(5))
def test_every_class_has_a_training_image(seed):
    labels = random_labels(seed, images=40, classes=30)
    splits = stratify(labels, dict(train=0.2, val=0.4, test=0.4), seed)
    in_train = set().union(*(names for names, split in zip(labels, splits) if split == 'train'))
    assert in_train == set().union(*labels)


# ---------------------------------------------------------------- folders


def test_folders_are_labels_and_copies_add_theirs(capsys):
    write_images(['cat/1.png', 'cat/2.png', 'dog/3.png', 'dog/1.png', '4.png'])
    Path('photos/bird').mkdir()
    Path('photos/bird/copy.png').write_bytes(Path('photos/cat/1.png').read_bytes())
    Path('photos/bird/link.png').symlink_to('../dog/3.png')
    Path('photos/cat/notes.md').write_text('no image')
    from_folder('--val', '0')
    assert words_of() == {
        'bird/copy.png': ['bird', 'cat'],
        'bird/link.png': ['bird', 'dog'],
        'cat/2.png': ['cat'],
        'dog/1.png': ['dog'],
        '4.png': [],
    }
    assert 'gt_label_unknown' not in Path('out/train.json').read_text()  # what is absent is known
    printed = capsys.readouterr().out
    assert '7 files, 5 different pictures' in printed
    assert '1 file left out (not images): cat/notes.md' in printed


def test_empty_files_are_no_copies_of_each_other(capsys):
    write_images(['cat/1.png', 'cat/2.png', 'dog/1.png', 'dog/2.png'])
    for name in ('cat/z.jpg', 'dog/y.jpg'):
        Path('photos', name).touch()
    from_folder('--val', '0', '--test', '0.3')
    words = words_of()
    assert words['cat/z.jpg'] == ['cat'] and words['dog/y.jpg'] == ['dog']
    assert '6 files, 6 different pictures' in capsys.readouterr().out


def test_a_file_name_that_is_not_utf8_is_written_such_that_it_is_found():
    write_images(['cat/caf\udce9.png', 'dog/1.png', 'dog/2.png', 'cat/3.png'])
    from_folder('--val', '0', '--test', '0.3')
    assert words_of()['cat/caf\udce9.png'] == ['cat']


def test_a_label_that_is_not_utf8_is_refused():
    write_images(['caf\udce9/1.png', 'dog/1.png', 'dog/2.png', 'caf\udce9/3.png'])
    with pytest.raises(SystemExit) as error:
        from_folder('--val', '0', '--test', '0.3')
    message = str(error.value.code)
    assert r": the label 'caf\udce9' is not UTF-8; rename it" in message and '\n' not in message
    assert not Path('out').exists()


def test_one_name_for_different_pictures_is_said(capsys):
    write_images(['cat/1.png', 'dog/1.png', 'dog/2.png'])
    from_folder('--val', '0', '--test', '0.4')
    assert '1 names stand for different pictures, such as cat/1.png and dog/1.png' in (
        capsys.readouterr().out
    )


def test_nested_folders_are_several_labels():
    write_images(['cat/indoors/1.png', 'cat/2.png', 'dog/indoors/3.png'])
    with pytest.raises(SystemExit, match='with --nested it has the labels cat and indoors'):
        from_folder()
    from_folder('--nested', '--val', '0', '--test', '0.4')
    assert labels_of()['cat/indoors/1.png'][1] == ['cat', 'indoors']
    assert Path('out/classes.txt').read_text().split() == ['cat', 'dog', 'indoors']


@pytest.mark.parametrize('mark', [*',;+&_-', ' ', ' and '])
@pytest.mark.parametrize('options', [[], ['--nested']])
def test_a_folder_called_like_two_others_is_refused_with_the_command_that_decides(mark, options):
    labels = {'cat': ['cat'], 'dog': ['dog'], 'bird': ['bird']}
    both = f'cat{mark}dog'
    write_images([f'{name}/{i}.png' for name in (*labels, both) for i in range(3)])
    options = [*options, '--val', '0', '--test', '0.4']
    with pytest.raises(SystemExit) as error:
        from_folder(*options)
    question, _, command = error.value.code.partition('type: ')
    assert f'{both!r} and like its parts' in question and '\n' not in question
    words = shlex.split(command)
    for sep, expected in ((words[words.index('--sep') :], ['cat', 'dog']), (['--sep', ''], [both])):
        from_folder(*sep, *options)
        found = {Path(path).parts[0]: names for path, names in words_of().items()}
        assert found == labels | {both: expected}


def test_other_folders_that_a_separator_would_cut_are_named():
    write_images([f'{name}/1.png' for name in ('cat', 'dog', 'cat_dog', 'ice_cream')])
    with pytest.raises(SystemExit, match=r"several \(--sep '_'\) \(it cuts 'ice_cream', too\)\?"):
        from_folder()


def test_a_linked_folder_is_followed_once():
    write_images(['cat/3.png', 'cat/4.png', '../elsewhere/1.png', '../elsewhere/2.png'])
    Path('photos/dog').symlink_to('../elsewhere')
    Path('photos/dog/round').symlink_to('..', target_is_directory=True)
    from_folder('--val', '0', '--test', '0.3')
    assert set(labels_of()) == {'cat/3.png', 'cat/4.png', 'dog/1.png', 'dog/2.png'}


def test_a_link_to_a_folder_of_labels_is_a_label_too(capsys):
    write_images(['beach/1.png', 'beach/2.png', 'dog/1.png', 'dog/2.png', 'dog/3.png'])
    Path('photos/boat').symlink_to('beach')
    from_folder('--val', '0', '--test', '0.4')
    assert words_of() == {
        **{f'beach/{i}.png': ['beach', 'boat'] for i in (1, 2)},
        **{f'dog/{i}.png': ['dog'] for i in (1, 2, 3)},
    }
    assert '7 files, 5 different pictures' in capsys.readouterr().out


def test_folders_that_link_to_each_other_end():
    write_images(['cat/1.png', 'dog/2.png'])
    Path('photos/cat/dogs').symlink_to('../dog')
    Path('photos/dog/cats').symlink_to('../cat')
    Path('photos/all').symlink_to('.')
    assert list_images('photos/')[0] == list_images(Path('photos'))[0]
    assert list_images('photos')[0] == [
        'cat/1.png',
        'cat/dogs/2.png',
        'dog/2.png',
        'dog/cats/1.png',
    ]


def test_a_picture_in_two_splits_is_one_picture_and_named(capsys):
    write_images([f'{split}/{name}/1{name}.png' for split in SPLITS for name in ('cat', 'dog')])
    content = Path('photos/train/cat/1cat.png').read_bytes()
    for name in ('train/dog/also.png', 'test/dog/1cat.png', 'test/cat/other.png'):
        Path('photos', name).write_bytes(content)
    from_folder()
    assert words_of() == {
        'test/cat/1cat.png': ['cat'],
        'test/cat/other.png': ['cat', 'dog'],
        'test/dog/1dog.png': ['dog'],
        'train/cat/1cat.png': ['cat', 'dog'],
        'train/dog/1dog.png': ['dog'],
        'val/cat/1cat.png': ['cat'],
        'val/dog/1dog.png': ['dog'],
    }
    lines = capsys.readouterr().out.splitlines()
    assert '9 files, 6 different pictures' in lines
    shared = 'warning: 1 picture in several splits: test/cat/other.png and train/cat/1cat.png.'
    assert sum(line.startswith(shared) for line in lines) == 1


def test_folders_called_like_splits_are_splits(capsys):
    write_images(['Train/cat/1.png', 'Train/dog/2.png', 'val/cat/3.png', 'test/dog/4.png'])
    from_folder()
    assert 'the folders Train, test, val are splits\n' in capsys.readouterr().out
    assert labels_of() == {
        'Train/cat/1.png': ('train', ['cat']),
        'Train/dog/2.png': ('train', ['dog']),
        'val/cat/3.png': ('val', ['cat']),
        'test/dog/4.png': ('test', ['dog']),
    }


@pytest.mark.parametrize(
    'train, other, fault',
    [
        ('train', 'cover.png', 'cover.png is in none of them'),
        ('train', 'more/cat/5.png', 'more/cat/5.png is in none of them'),
        ('valid', 'test/cat/5.png', 'none of them is called train'),
    ],
)
def test_folders_called_like_splits_that_are_none_are_refused_with_the_reason(train, other, fault):
    write_images([f'{train}/cat/1.png', f'{train}/dog/2.png', 'test/dog/4.png', other])
    refusal = rf'\(test, {train}\) are not taken for splits, because {fault}; --nested'
    with pytest.raises(SystemExit, match=refusal):
        from_folder()


def test_labels_beside_the_images(capsys):
    write_images(['1.png', 'deep/2.png', '3.png', '4.png'])
    Path('photos/1.txt').write_bytes(b'\xef\xbb\xbfcat\r\nbig dog\r\n\r\n')
    Path('photos/deep/2.txt').write_text('cat')
    Path('photos/3.txt').write_text('')
    Path('photos/5.txt').write_text('cat')
    with pytest.raises(SystemExit, match=r'1 of 4 images have no .txt file next to them: 4.png'):
        from_folder('--sidecar')
    from_folder('--sidecar', '--skip-missing', '--val', '0', '--test', '0.4')
    assert words_of() == {
        '1.png': ['big dog', 'cat'],
        'deep/2.png': ['cat'],
        '3.png': [],
    }
    assert 'without: 1 (left out); 1 .txt file without an image' in capsys.readouterr().out


def test_texts_beside_no_image_are_no_labels():
    write_images(['1.png', '2.png'])
    Path('photos/other.txt').write_text('cat')
    with pytest.raises(SystemExit, match=r'none of the 2 images in photos has a .txt file next'):
        from_folder('--sidecar', '--skip-missing')


def write_sidecars(*texts):
    """Images 0.png and so on, and their texts."""
    write_images([f'{i}.png' for i in range(len(texts))])
    for i, text in enumerate(texts):
        Path(f'photos/{i}.txt').write_text(text)


def test_tags_with_commas_on_one_line_are_several_labels():
    write_sidecars('red, long tail', 'red', 'long tail, solo\n', '')
    from_folder('--sidecar', '--val', '0', '--test', '0.3')
    assert words_of() == {
        '0.png': ['long tail', 'red'],
        '1.png': ['red'],
        '2.png': ['long tail', 'solo'],
        '3.png': [],
    }


def test_lines_that_hold_commas_are_refused_with_the_command_that_decides():
    write_sidecars('table, dining\ncat', 'cat', 'cat\ntable, dining', 'cat')
    with pytest.raises(SystemExit, match='which separates labels') as error:
        from_folder('--sidecar', '--val', '0')
    command = shlex.split(error.value.code.partition('type: ')[2])
    assert command[-2:] == ['--sep', ',']
    from_folder('--sidecar', '--val', '0', '--test', '0.3', '--sep', '\\n')
    assert words_of()['0.png'] == ['cat', 'table, dining']


def test_a_text_that_no_separator_would_explain_is_named():
    write_sidecars('cat', '{"cat": 2}')
    with pytest.raises(SystemExit, match=r'photos/1.txt: .* which of it are labels\?$'):
        from_folder('--sidecar')


def test_lines_whose_parts_are_labels_too_are_refused_with_the_command_that_decides():
    write_sidecars('cat#dog', 'cat', 'dog', '')
    with pytest.raises(SystemExit, match='which separates labels: #') as error:
        from_folder('--sidecar', '--val', '0')
    assert shlex.split(error.value.code.partition('type: ')[2])[-2:] == ['--sep', '#']
    from_folder('--sidecar', '--val', '0', '--test', '0.3', '--sep', '#')
    assert words_of() == {'0.png': ['cat', 'dog'], '1.png': ['cat'], '2.png': ['dog'], '3.png': []}


@pytest.mark.parametrize('more', [[], ['1girl', 'long_hair solo', 'long_hair']])
def test_tags_with_blanks_between_are_not_taken_for_one_label(more):
    write_sidecars('', '', '', *more)
    for i, text in enumerate(['1girl long_hair', '1girl solo', 'solo']):
        Path(f'photos/{i}.txt').rename(f'photos/{i}.png.txt').write_text(text)
    with pytest.raises(SystemExit, match=r"blanks\? \(--sep ' ' or --sep ''\)") as error:
        from_folder('--sidecar', '--val', '0')
    assert shlex.split(error.value.code.partition('type: ')[2])[-2:] == ['--sep', ' ']
    from_folder('--sidecar', '--val', '0', '--test', '0.4', '--sep', ' ')
    assert words_of() == {
        '0.png': ['1girl', 'long_hair'],
        '1.png': ['1girl', 'solo'],
        '2.png': ['solo'],
        **{f'{i}.png': text.split() for i, text in enumerate(more, 3)},
    }


BOXES = ['0 .5 0.5 0.2 1.0\n2 0.5 0.5 0.2 0.3\n', '2 0.5 0.5 2e-1 0.3', '', '1 0 0 1 1 0 1\n']
BOX_LABELS = {'0.png': ['cat', 'dog'], '1.png': ['dog'], '2.png': [], '3.png': ['bird']}


@pytest.mark.parametrize(
    'name, text',
    [
        ('photos/classes.txt', 'cat\nbird\ndog\n'),
        ('photos/obj.names', 'cat\nbird\ndog'),
        ('data.yaml', 'nc: 3\nnames: [cat, bird, dog]\n'),
        ('photos/data.yaml', 'names:\n  0: cat\n  1: bird\n  2: dog\n'),
    ],
)
def test_boxes_of_yolo_have_the_names_of_their_numbers(name, text, capsys):
    write_sidecars(*BOXES)
    Path(name).write_text(text)
    from_folder('--sidecar', '--val', '0', '--test', '0.3')
    assert words_of() == BOX_LABELS
    assert f'as YOLO boxes; the names of their classes are from {name}' in capsys.readouterr().out


def test_boxes_without_names_or_with_other_numbers_are_refused():
    write_sidecars(*BOXES)
    with pytest.raises(SystemExit, match=r'photos/0.txt: looks like YOLO boxes, and none of class'):
        from_folder('--sidecar')
    Path('names.txt').write_text('cat\nbird\n')
    with pytest.raises(
        SystemExit, match=r"photos/0.txt: '2 0.5.*is not a box of one of the 2 class"
    ):
        from_folder('--sidecar', '--classes', 'names.txt')
    Path('names.txt').write_text('cat\nbird\ndog\n')
    from_folder('--sidecar', '--classes', 'names.txt', '--val', '0', '--test', '0.3')
    assert words_of() == BOX_LABELS
    Path('photos/1.txt').write_text('dog')
    with pytest.raises(SystemExit, match=r"photos/1.txt: 'dog' is not a box"):
        from_folder('--sidecar', '--classes', 'names.txt')
    Path('photos/data.yaml').write_text('names: 3')
    with pytest.raises(SystemExit, match=r'photos/data.yaml has no list "names"'):
        from_folder('--sidecar')


@pytest.mark.parametrize(
    'line',
    [
        '1 120 240 130 250 140 260 150 270 160 280 170 290 180 300 190 310 200 320 210 330;',
        '0 0.5 0.5 0.5 ' + '0' * 20_000 + 'x',
        '9' * 5_000 + ' 0.5 0.5 0.5 0.5',
    ],
)
def test_a_line_that_is_no_box_is_refused_at_once(line):
    write_sidecars('0 1. .5 1e+0 1e-1', line)
    Path('photos/classes.txt').write_text('cat\nbird\n')
    started = time.perf_counter()
    with pytest.raises(SystemExit, match=r'^error: photos/1.txt: .{9,300} is not a box of one of'):
        from_folder('--sidecar')
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('classes.txt', 'cat\n\nbird\ndog\n', r'classes.txt, line 2 of 4: is empty'),
        ('classes.txt', '\n', r'classes.txt: found 0 lines'),
        ('classes.txt', 'cat\nbird\ncat\n', "classes.txt: 'cat' occurs twice"),
        ('data.yaml', 'names: [cat, dog', 'has no list "names" of classes'),
        ('data.yaml', 'names: cat, dog, bird', 'data.yaml has no list "names" of classes'),
        ('data.yaml', 'names: {cat: 0, bird: 1, dog: 2}', 'has no list "names" of classes'),
        ('data.yaml', 'names: {1: cat, 2: bird, 3: dog}', 'has no list "names" of classes'),
        ('data.yaml', 'names: [cat, [bird], dog]', 'has no list "names" of classes'),
        ('data.yaml', 'names: [cat, "", dog]', 'has no list "names" of classes'),
        ('data.yaml', '- cat', 'has no list "names" of classes'),
        ('classes.txt', '1,cat\n0,bird\n2,dog', "found '1,cat', expected a name a line, number 0"),
        ('data.yaml', 'names: [cat, bird, cat]', "data.yaml: 'cat' occurs twice"),
        ('data.yaml', 'names: {0: cat, 0: bird, 1: dog}', "data.yaml: '0' occurs twice in one"),
    ],
)
def test_a_file_that_leaves_open_which_box_has_which_name_is_refused(name, text, message):
    write_sidecars(*BOXES)
    Path('photos', name).write_text(text)
    with pytest.raises(SystemExit, match=message):
        from_folder('--sidecar')


@pytest.mark.parametrize('name', ['classes.txt', 'photos/deep/classes.txt'])
def test_files_that_name_boxes_differently_are_refused_until_one_is_chosen(name):
    write_sidecars(*BOXES)
    write_images(['deep/4.png'])
    Path('photos/deep/4.txt').write_text('0 .5 .5 .2 .2')
    Path('photos/classes.txt').write_text('cat\nbird\ndog\n')
    Path('photos/data.yaml').write_text('names: [cat, bird, dog]')
    Path(name).write_text('bird\ncat\ndog\n')
    with pytest.raises(
        SystemExit, match=rf'photos/classes.txt and {name} name .* differently: --classes FILE'
    ):
        from_folder('--sidecar')
    expected = BOX_LABELS | {'deep/4.png': ['cat']}
    from_folder('--sidecar', '--classes', 'photos/classes.txt', '--val', '0')
    assert words_of() == expected
    Path(name).write_text('cat\nbird\ndog')
    from_folder('--sidecar', '--val', '0')
    assert {x: sorted(y) for x, y in words_of().items()} == expected


@pytest.mark.parametrize('out', ['photos', '.', 'photos/../photos/labels'])
@pytest.mark.parametrize('name', ['classes.txt', 'photos/data.yaml'])
def test_classes_are_not_written_where_boxes_find_their_names(name, out):
    write_sidecars(*BOXES)
    write_images(['images/4.png'])
    Path('photos/labels').mkdir()
    Path('photos/labels/4.txt').write_text('')
    text = 'names: [dog, cat, bird]' if name.endswith('.yaml') else 'dog\ncat\nbird\n'
    Path(name).write_text(text)
    before = sorted(Path().rglob('*'))
    with pytest.raises(SystemExit, match='is where names of boxes are looked for.*another --out'):
        from_folder('--sidecar', '--val', '0', '--test', '0.3', '--out', out)
    assert sorted(Path().rglob('*')) == before and Path(name).read_text() == text
    for _ in range(2):
        from_folder('--sidecar', '--val', '0', '--test', '0.3')
        assert words_of()['3.png'] == ['cat']


def test_the_classes_that_a_run_wrote_name_no_boxes():
    write_sidecars(*BOXES)
    Path('names.txt').write_text('dog\ncat\nbird\n')
    options = '--sidecar', '--val', '0', '--test', '0.3'
    from_folder(*options, '--classes', 'names.txt', '--out', 'photos')
    with pytest.raises(
        SystemExit, match=r'--classes FILE does.*photos/classes.txt is what an earlier run wrote'
    ):
        from_folder(*options)
    Path('data.yaml').write_text('names: [ox, cat, bird]')
    from_folder(*options)
    assert words_of()['0.png'] == ['bird', 'ox']


def test_blank_lines_after_the_names_of_boxes_are_none():
    write_sidecars(*BOXES)
    Path('photos/classes.txt').write_text('cat\r\n bird \r\ndog\r\n\r\n')
    from_folder('--sidecar', '--val', '0', '--test', '0.3')
    assert words_of() == BOX_LABELS


@pytest.mark.parametrize(
    'text', ['names: [no, 1e3, 2024-01-01]', 'nc: 3\nnames:\n  0: no\n  1: 1e3\n  2: 2024-01-01\n']
)
@pytest.mark.parametrize('name', ['names.yml', 'NAMES.YAML'])
def test_names_of_boxes_in_yaml_are_as_written(name, text):
    write_sidecars(*BOXES)
    Path(name).write_text(text)
    from_folder('--sidecar', '--classes', name, '--val', '0', '--test', '0.3')
    assert Path('out/classes.txt').read_text().splitlines() == ['no', '1e3', '2024-01-01']
    names = dict(zip(('cat', 'bird', 'dog'), ('no', '1e3', '2024-01-01')))
    expected = {file: [names[x] for x in labels] for file, labels in BOX_LABELS.items()}
    assert {file: sorted(x) for file, x in words_of().items()} == {
        file: sorted(x) for file, x in expected.items()
    }


def test_all_classes_of_a_given_file_stay_even_without_a_box():
    write_sidecars(*BOXES)
    Path('names.txt').write_text('cat\nbird\ndog\nox\n')
    from_folder('--sidecar', '--classes', 'names.txt', '--val', '0', '--test', '0.3')
    assert Path('out/classes.txt').read_text().split() == ['cat', 'bird', 'dog', 'ox']


def test_texts_beside_images_may_end_in_capitals(capsys):
    write_images(['1.PNG', '2.png', '3.png', 'images/4.PNG'])
    Path('photos/labels').mkdir()
    for name in ('1.TXT', '2.Txt', '3.TXT', '3.txt', 'labels/4.TXT'):
        Path('photos', name).write_text('dog' if name == '3.TXT' else 'cat')
    from_folder('--sidecar', '--val', '0', '--test', '0.3')
    assert words_of() == {name: ['cat'] for name in ('1.PNG', '2.png', '3.png', 'images/4.PNG')}
    assert '; 1 .txt file without an image' in capsys.readouterr().out


def test_boxes_in_a_folder_of_their_own_keep_the_splits():
    write_images([f'images/{split}/{i}.png' for split in ('train', 'val') for i in range(2)])
    for split in ('train', 'val'):
        Path('photos/labels', split).mkdir(parents=True)
        for i in range(2):
            Path(f'photos/labels/{split}/{i}.txt').write_text(f'{i} 0.5 0.5 0.2 0.3\n')
    Path('photos/data.yaml').write_text('names: [cat, dog]')
    from_folder('--sidecar')
    assert labels_of() == {
        'images/train/0.png': ('train', ['cat']),
        'images/train/1.png': ('train', ['dog']),
        'images/val/0.png': ('val', ['cat']),
        'images/val/1.png': ('val', ['dog']),
    }


def test_a_folder_with_a_table_says_which_tool_reads_it():
    write_images(['1.png', '2.png'])
    Path('photos/_classes.csv').write_text('filename,cat\n')
    with pytest.raises(
        SystemExit, match='Labels in a table or JSON are read by from_csv.py, those'
    ):
        from_folder()


@pytest.mark.parametrize(
    ('place', 'options', 'said'),
    [
        ('data', [], 'each of the 10 images in photos would have the label data'),
        ('images/default', ['--nested'], 'would have the labels default and images'),
        ('JPEGImages', [], "is of Pascal VOC's form, which needs no tool"),
    ],
)
def test_a_folder_around_all_images_is_no_label(place, options, said):
    write_images([f'{place}/{i}.png' for i in range(10)])
    if place == 'JPEGImages':  # masks are no class, either
        write_images([f'SegmentationClass/{i}.png' for i in range(4)])
    with pytest.raises(SystemExit, match=said):
        from_folder(*options)
    assert not Path('out').exists()


@pytest.mark.parametrize('options', [[], ['--sidecar']])
def test_a_link_to_nothing_among_labelled_images_is_missing(options, capsys):
    write_images([f'{"cat" if i % 2 else "dog"}/{i}.png' for i in range(10)])
    for i in range(11):
        Path(f'photos/{"cat" if i % 2 else "dog"}/{i}.txt').write_text('cat' if i % 2 else 'dog')
    Path('photos/dog/10.png').symlink_to('nowhere.png')
    with pytest.raises(SystemExit, match='1 of 11 images are links to nothing: dog/10.png; --skip'):
        from_folder(*options)
    from_folder(*options, '--skip-missing')
    assert len(words_of()) == 10 and 'dog/10.png' not in words_of()
    assert '1 of 11 images are links to nothing: dog/10.png (left out)' in capsys.readouterr().out


def test_what_an_earlier_run_wrote_is_no_image_to_learn_from():
    write_images([f'{"cat" if i % 2 else "dog"}/{i}.png' for i in range(20)])
    for out, sheet in (('photos/set', 'photos/set/set.png'), ('photos', 'photos/photos.png')):
        from_folder('--out', out)
        assert len(labels_of(out)) == 20
        from_folder('--out', out)
        write_images([sheet], '.')
        with pytest.raises(SystemExit, match=f'{sheet} is where this tool and browse_dataset.py'):
            from_folder('--out', out)
        Path(sheet).unlink()


def test_images_table_and_results_may_lie_on_several_drives_of_windows(monkeypatch):
    def other_drive(path, *_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(sys, 'argv', [str(TOOLS / 'from_csv.py')])
    with monkeypatch.context() as inside:
        inside.chdir(ROOT)
        inside.setattr(sys, 'executable', '/elsewhere/python')
        assert command_words('train.py') == ['/elsewhere/python', 'tools/train.py']
    write_table(FORMS['semicolon'])
    monkeypatch.setattr('os.path.relpath', other_drive)
    options = '--val', '0.5', '--test', '0'
    from_csv('--out', 'out', *options)
    assert words_of() == WANTED
    write_images(['cat/1.jpg', 'cat/2.jpg', 'dog/3.jpg', 'dog/4.jpg'])
    from_folder(*options)
    assert words_of() == {  # of pictures that are the same the first
        'a.jpg': ['cat'],
        'b.jpg': ['cat'],
        'c.jpg': ['dog'],
        'd.jpg': ['dog'],
    }


def test_a_folder_without_images_is_an_error():
    with pytest.raises(SystemExit, match='photos is not a folder'):
        from_folder()
    Path('photos').mkdir()
    Path('photos/a.txt').write_text('cat')
    with pytest.raises(SystemExit, match='no image in photos, among 1 file'):
        from_folder()


# ---------------------------------------------------------------- config and tutorial


WRITTEN = 'train.json', 'val.json', 'test.json', 'classes.txt', 'out.py'


def write_holiday():
    """The images of the tutorial, as a table and as folders."""
    labels = 4 * [['beach', 'boat'], ['person'], [], ['beach', 'person']]
    images = {f'{i:04d}.png': names for i, names in enumerate(labels)}
    write_images(images)
    rows = [f'{name},{";".join(labels)}' for name, labels in images.items()]
    Path('labels.csv').write_text('\n'.join(['image,labels', *rows]) + '\n')
    for name, labels in images.items():
        for label in labels:
            path = Path('photos_by_label', label, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Path('photos', name).read_bytes())


def test_the_config_fits_its_data():
    write_holiday()
    from_csv('--out', 'data/my holiday', '--epochs', '3')
    cfg = Config.fromfile('data/my holiday/my_holiday.py')
    model = cfg.model
    for part in (cfg.data_preprocessor, model.neck, model.head):
        assert part.num_classes == 3
    assert cfg.train_dataloader.dataset.ann_file == 'data/my holiday/train.json'
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1
    assert cfg.train_cfg.max_epochs == 3 and 'end' not in cfg.param_scheduler[0]  # the run's
    assert [hook.get('begin') for hook in cfg.custom_hooks] == [None, 3]
    train = [labels for split, labels in labels_of('data/my holiday').values() if split == 'train']
    share = sum(map(len, train)) / len(train) / 3
    assert model.head.prior_prob == pytest.approx(share, abs=5e-4)  # written with three digits


@pytest.mark.parametrize(
    'images, batch_size, epochs',
    [(8, 1, 40), (12, 1, 34), (100, 8, 34), (1000, 32, 13), (9999, 32, 6)],
)
def test_a_config_has_400_batches_where_6_to_40_epochs_allow_it(images, batch_size, epochs):
    train = [Image('', {'cat'}, '', 'train', {'dog'} if i % 4 else set()) for i in range(images)]
    splits = dict(train=train, val=[], test=train[:1])
    places = Path('own.py'), Path('labels'), Path('photos')
    text = config_text(*places, splits, ['cat', 'cow', 'dog'], None, 'from_csv')
    assert f'\nepochs = {epochs}\n' in text and f'(base_batch_size={batch_size})' in text
    assert 'image has 1.00 of 3 labels, and 0.75 are unknown\n' in text


@pytest.mark.parametrize('val, test', [('0', '0.2'), ('0.2', '0')])
def test_a_config_without_a_split_loads(val, test):
    write_holiday()
    from_csv('--out', 'out', '--val', val, '--test', test)
    cfg = Config.fromfile('out/out.py')
    if val == '0':
        assert cfg.val_dataloader is cfg.val_cfg is cfg.val_evaluator is None
        assert cfg.default_hooks.checkpoint.save_best is None
        assert cfg.test_dataloader.dataset.ann_file == 'out/test.json'
    else:
        assert cfg.test_dataloader.dataset.ann_file == 'out/val.json'
        assert not Path('out/test.json').exists()


@pytest.mark.parametrize('name', ['foo', 'foo.txt', '.py'])
def test_a_config_that_no_tool_would_load_is_refused(name, capsys):
    write_holiday()
    with pytest.raises(SystemExit):
        from_csv('--out', 'out', '--config', f'configs/{name}')
    assert f'is the name of a .py file to write: configs/{name}\n' in capsys.readouterr().err
    assert not Path('out').exists() and not Path('configs').exists()
    from_csv('--out', 'out', '--config', 'configs/foo.py')
    assert Config.fromfile('configs/foo.py').train_dataloader.dataset.ann_file == 'out/train.json'


def test_an_edited_config_is_kept_aside():
    write_holiday()
    from_csv('--out', 'out')
    fresh = Path('out/out.py').read_text()
    Path('out/out.py').write_text(fresh + 'mine = 1\n')
    from_csv('--out', 'out')
    assert Path('out/out.py').read_text() == fresh
    assert Path('out/out.py.old').read_text() == fresh + 'mine = 1\n'


def test_no_run_writes_over_what_another_kept_aside(capsys):
    write_holiday()
    texts = []
    for epochs in ('12', '13', '14', '15'):
        from_csv('--out', 'out', '--epochs', epochs)
        config = Path('out/out.py')
        config.write_text(config.read_text() + f'mine = {epochs}\n')
        texts.append(config.read_text())
    kept = [Path(f'out/out.py{end}').read_text() for end in ('.old', '.old.1', '.old.2', '')]
    assert kept == texts
    assert 'out/out.py existed with other contents: they are kept as out/out.py.old.2' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize('tool', ['from_csv', 'from_folder'])
def test_files_in_out_that_a_run_would_change_or_remove_are_kept_aside(tool, capsys):
    write_holiday()
    Path('photos').rename('all')
    Path('photos_by_label' if tool == 'from_folder' else 'all').rename('photos')
    run = from_csv if tool == 'from_csv' else from_folder
    mine = {f'out/{name}': f'my {name}\r\n\xe9'.encode('latin-1') for name in WRITTEN}
    Path('out').mkdir()
    for name, content in mine.items():
        Path(name).write_bytes(content)
    run('--out', 'out', '--val', '0')
    said = capsys.readouterr().out
    assert not Path('out/val.json').exists()
    assert 'out/val.json existed, and its split has no images: it is kept as' in said
    for name, content in mine.items():
        assert Path(f'{name}.old').read_bytes() == content
        assert f'kept as {name}.old\n' in said
    files = sorted(Path('out').iterdir())
    run('--out', 'out', '--val', '0')  # the same again
    assert sorted(Path('out').iterdir()) == files and 'kept' not in capsys.readouterr().out


def test_a_config_in_the_work_directory_is_not_written_over_by_the_run(capsys):
    write_holiday()
    from_csv('--out', 'work_dirs/own')
    assert Config.fromfile('work_dirs/own/own.py').work_dir == 'work_dirs/own/run'
    assert capsys.readouterr().out.endswith('work_dirs/own/own.py work_dirs/own/run\n')


def test_the_last_words_compare_with_a_tuned_linear_classifier_as_printed(capsys, monkeypatch):
    write_rows([('cat', 'dog', 'cat;dog')[i % 3] for i in range(90)])
    from_csv('--out', 'data/pets', '--epochs', '9')
    line = capsys.readouterr().out.splitlines()[-1]
    parts, runs = {}, []
    monkeypatch.setattr('mlic.cli.compare.store_features', lambda cfg, root: None)
    monkeypatch.setattr('mlic.cli.compare.run_all', lambda found, slots: runs.extend(found) or {})
    monkeypatch.setattr(
        'mlic.cli.compare.choose_rates',
        lambda found, *_: parts.update(found) or ({name: Rate(0.5, TUNED) for name in found}, {}),
    )
    python, tool, *arguments = shlex.split(line)
    assert Path(tool).resolve() == ROOT / 'tools' / 'compare.py'
    run_tool(tool, *arguments)
    linear = 'baseline_efficientnet-lite0_corel5k160_frozen'
    assert list(parts) == ['pets', linear]
    assert {(run.name, run.seed) for run in runs} == {(n, s) for n in parts for s in range(3)}
    assert {run.folder.parts[:2] for run in runs} == {('work_dirs', 'pets_comparison')}
    hooks = Config.fromfile('data/pets/pets.py').custom_hooks
    cfgs = [Config.fromstring(run.text, '.py') for run in runs]
    assert {cfg.optim_wrapper.optimizer.lr for cfg in cfgs} == {0.5}
    for cfg in (*parts.values(), *cfgs):
        assert cfg.train_dataloader.dataset.ann_file == 'data/pets/train.json'
        assert cfg.model.head.num_classes == 2 and cfg.model.backbone.frozen_stages == 8
        assert cfg.train_cfg.max_epochs == 9 and 'end' not in cfg.param_scheduler[0]
        assert cfg.custom_hooks[0] == hooks[0]
    write_rows(['cat', 'dog'] * 10)  # too few to choose a rate by
    from_csv('--out', 'few')
    assert capsys.readouterr().out.endswith('few/few.py work_dirs/few\n')


def documented_commands():
    """The commands in the section on own images, in order."""
    section = DOCUMENT.read_text(encoding='utf-8').split('\n## Your own images\n')[1]
    blocks = re.findall(r'```bash\n(.*?)```', section.split('\n## ')[0], re.DOTALL)
    return [shlex.split(line) for line in itertools.chain(*(b.splitlines() for b in blocks))]


def test_the_documented_commands_and_those_that_they_print_run(capfd):
    write_holiday()
    from_csv, from_folder = commands = documented_commands()
    assert [Path(command[1]).name for command in commands] == ['from_csv.py', 'from_folder.py']
    queue, tools = [from_csv], []
    while queue:
        python, tool, *arguments = queue.pop(0)
        tools.append(Path(tool).name)
        assert Path(python).name.startswith('python')
        extra = {'from_csv.py': ['--epochs', '2'], 'verify_dataset.py': ['--workers', '0']}
        if Path(tool).name in ('train.py', 'test.py'):
            extra[Path(tool).name] = ['--cfg-options', *TINY]
        run_tool(ROOT / tool, *arguments, *extra.get(Path(tool).name, []))
        printed = capfd.readouterr().out.strip().splitlines()
        if tool.endswith('from_csv.py'):  # it ends with the next four commands
            queue += [*map(shlex.split, printed[-4:]), from_folder]
        if tool.endswith('verify_dataset.py'):
            assert printed[-1] == 'OK'
        if tool.endswith('test.py'):
            assert re.search(r'^standard, >= 0.5 +\d+\.\d\d', '\n'.join(printed), re.M)
    first = ['from_csv.py', 'verify_dataset.py', 'browse_dataset.py']
    assert tools == [*first, 'train.py', 'test.py', 'from_folder.py']
    assert Path('data/holiday/holiday.png').stat().st_size > 10_000
    assert list(Path('work_dirs/holiday').glob('best_*.pth'))
    assert len(labels_of('data/folders')) == 12  # those with a label
