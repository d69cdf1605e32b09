"""The tools that look at a config's data: what they count, find and draw."""

import io
import json
import os
import random
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mlic.cli import arguments, browse_dataset, image_checks, verify_dataset
from tests.helpers import DATA, ROOT, call_tool, memory_below, needs_data

VERIFY, BROWSE = (f'tools/dataset_tools/{x}_dataset.py' for x in ('verify', 'browse'))
pytestmark = pytest.mark.usefixtures('empty_folder')
DIGITS = ROOT / 'configs' / 'sadcl' / 'sadcl_efficientnet-lite0_digits128.py'
LEAF = ROOT / 'configs' / 'sadcl' / 'sadcl_efficientnet-lite0_own224.py'
VOC_LISTS = 'label_files/voc2007/ImageSets_Main_official'
CLASSES = ['beach', 'boat', 'person']


def verify(*arguments):
    return call_tool(VERIFY, 'own.py', '--workers', 0, *arguments)


def write_image(path, value):
    image = np.full((24, 32, 3), value, np.uint8)
    cv2.imwrite(str(path), image)


def write_own(splits=None, classes=CLASSES):
    """Three splits of four images, a config, and no fault."""
    Path('photos').mkdir(exist_ok=True)
    contents = {}
    for number, split in enumerate(('train', 'val', 'test')):
        names = [f'{split}{i}.png' for i in range(4)]
        for i, name in enumerate(names):
            write_image(f'photos/{name}', 100 + 10 * number + i)
        labels = ([0], [1, 2], [], [0, 1, 2])
        data_list = [dict(img_path=n, gt_label=x) for n, x in zip(names, labels)]
        contents[split] = dict(metainfo=dict(classes=list(classes)), data_list=data_list)
    for split, change in (splits or {}).items():
        change(contents[split])
    lines = [f'_base_ = {str(LEAF)!r}']
    for split, content in contents.items():
        Path(f'{split}.json').write_text(json.dumps(content))  # without a final newline
        # packing would collect garbage, which costs a second where torch is loaded
        dataset = dict(ann_file=f'{split}.json', data_prefix='photos', serialize_data=False)
        lines.append(f'{split}_dataloader = dict(dataset={dataset})')
    Path('own.py').write_text('\n'.join(lines))


def test_sound_data_are_counted_and_pass(capsys):
    write_own()
    assert verify() is None
    printed = capsys.readouterr().out
    assert '  images           4\n  classes          3\n' in printed
    assert '  labels           6; per image: min 0, mean 1.50, max 3\n' in printed
    assert '  without a label  1 image\n  without images   0 classes\n' in printed
    assert 'fingerprint' not in printed  # of no benchmark
    assert printed.endswith('12 of 12 image files decoded\nOK\n')


def test_known_and_unknown_labels_of_each_class_are_counted(capsys):
    """Of train: beach is there in 1 and 4, absent in 2 and unknown in 3; boat is never absent."""

    def hide(content):
        for item, unknown in zip(content['data_list'], ([1], [], [0, 1], [])):
            item['gt_label_unknown'] = unknown

    write_own(dict(train=hide))
    assert verify('--no-decode') is None
    printed = capsys.readouterr().out
    train, others = printed.split('val:')
    assert "  without images   0 classes\n  never absent     1 class: 'boat'\n" in train
    assert '  unknown          3 of 12 labels (25.0%), most: boat 50%, beach 25%\n' in train
    table = [line.split() for line in train.splitlines()[-4:]]
    assert table == [
        ['class', 'present', 'absent', 'unknown'],
        ['beach', '2', '1', '1'],
        ['boat', '2', '0', '2'],
        ['person', '2', '2', '0'],
    ]
    assert 'unknown' not in others and '  never absent     0 classes\n' in others


def test_a_split_without_a_known_negative_is_named_as_no_metric_is_defined(capsys):
    def hide(content):
        for item in content['data_list']:
            item['gt_label_unknown'] = [i for i in range(3) if i not in item['gt_label']]

    write_own(dict(train=hide, val=hide))
    assert '1 problem to fix' in verify('--no-decode')
    message = 'WRONG: val: no class has a known positive and a known negative: no metric is defined'
    assert message in capsys.readouterr().out


class Images(list):
    """A data set of images with class 0, and these unknown classes."""

    def get_data_info(self, index):
        return dict(gt_label=[0], gt_label_unknown=[*self[index]])


def test_unknown_labels_are_counted_without_a_list_of_all(capsys):
    """Of LVIS's 1,203 classes nearly all are unknown in each of 100,170 images."""
    number, classes = 200, 1000
    lists = [range(1, classes)] * number  # as long as each list is made when it is asked for
    split = image_checks.Split('val', 'X', None, Images(lists))
    with memory_below(8 * number * classes / 2):
        counts = verify_dataset.count_labels(split, classes, image_checks.Findings())
    assert counts.present == {0: number} and counts.labels == [1] * number
    assert counts.unknown == dict.fromkeys(range(1, classes), number)


def test_an_image_listed_again_with_other_unknown_labels_is_named(capsys):
    split = image_checks.Split('train', 'X', CLASSES, Images([[1], [1, 2]]), ['a', 'a'])
    findings = image_checks.Findings()
    verify_dataset.describe(split, 3, findings)
    assert findings.problems == [
        'train: 1 image listed again with different labels, such as a: '
        '[0], gt_label_unknown [1, 2] and [0], gt_label_unknown [1]'
    ]


def first(**change):
    """Changes the first image of a split."""
    return lambda content: content['data_list'][0].update(change)


@pytest.mark.parametrize(
    'split, change, message',
    [
        (
            'train',
            first(gt_label=[3]),
            "a label outside 0..2 in 1 of 4 images, such as 'train0.png': [3]",
        ),
        ('val', first(gt_label=[-1]), 'a label outside 0..2 in 1 of 4'),
        (
            'test',
            first(gt_label=[1, 0, 1]),
            'a label twice (it would count as 2 in the target) in 1',
        ),
        ('train', first(gt_label='boat'), 'no list of integers as gt_label in 1 of 4'),
        ('train', first(gt_label=1), 'no list of integers as gt_label in 1 of 4'),
        (
            'train',
            first(gt_label_unknown=[0, 1]),
            'a class in both gt_label and gt_label_unknown in 1 of 4 images, such as '
            "'train0.png': [0], gt_label_unknown [0, 1]",
        ),
        (
            'train',
            lambda c: c['metainfo'].clear(),
            'its classes have no names (metainfo, "classes")',
        ),
        (
            'train',
            first(img_path='gone.png'),
            'of 4 images, 1 missing and 0 unreadable:\n    photos/gone.png: image not found',
        ),
        (
            'val',
            lambda c: [item.update(gt_label=[]) for item in c['data_list']],
            'none of its 4 images has a label: no metric is defined',
        ),
        ('val', first(img_path='train1.png'), "1 of 4 images also in train: 'photos/train1.png'"),
    ],
)
def test_a_fault_of_a_split_is_named_before_training(capsys, split, change, message):
    write_own({split: change})
    assert 'to fix before training, marked WRONG above' in verify('--no-decode')
    printed = capsys.readouterr().out
    unread = f'{split} ({split}.json) cannot be read: ValueError: {split}.json'
    assert f'  WRONG: {split}: {message}' in printed or f'  WRONG: {unread}: {message}' in printed


@pytest.mark.parametrize(
    'splits, option, message',
    [
        (
            dict(test=lambda c: c['metainfo'].update(classes=['Beach', 'boat', 'person'])),
            'model.head.num_classes=3',
            "the test data have other classes than the train data: number 0 is 'Beach' in the test",
        ),
        (
            dict(test=lambda c: c['metainfo']['classes'].reverse()),
            'model.head.num_classes=3',
            'the test data have the classes in another order than the train data: number 0 is ',
        ),
        (
            dict(val=lambda c: c.pop('metainfo')),
            'model.head.num_classes=3',
            'val (val.json) cannot be read: ValueError: ',
        ),
        ({}, 'model.head.num_classes=4', 'model.head.num_classes is 4, but the data'),
        (
            {},
            'data_preprocessor.num_classes=4',
            'data_preprocessor.num_classes is 4, but the data have 3 classes',
        ),
        (
            {},
            'train_dataloader.dataset.data_prefix=elsewhere',
            'train (train.json) cannot be read: train data not found: elsewhere does not exist',
        ),
    ],
)
def test_what_does_not_fit_is_named_before_training(capsys, splits, option, message):
    write_own(splits)
    status = verify('--cfg-options', option)
    assert 'to fix before training, marked WRONG above' in status
    assert f'  WRONG: {message}' in capsys.readouterr().out


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize(
    'change, options, said',
    [
        (lambda content: content.update(data_list=[]), [], ('0 images in its data_list',) * 2),
        # mmengine takes a part of what was read, and packs it
        (None, ['train_dataloader.dataset.indices=0'], ('cannot be read: 0 images', '0 images')),
    ],
)
def test_no_images_are_named_before_they_are_packed(capsys, serialize, change, options, said):
    write_own(dict(train=change) if change else {})
    options = [f'train_dataloader.dataset.serialize_data={serialize}', *options]
    assert verify('--splits', 'train', '--cfg-options', *options) is not None
    wrong = [line for line in capsys.readouterr().out.splitlines() if 'WRONG' in line]
    assert wrong[0].endswith(said[not serialize])


def test_names_of_one_class_in_several_spellings_are_named(capsys):
    write_own(classes=['traffic light', 'Traffic_light', 'ｂoat'])
    assert verify('--no-decode') is None
    said = "warning: one class in several spellings? 'traffic light', 'Traffic_light'\n"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['RepeatDataset', 'ConcatDataset'])
def test_images_inside_a_wrapper_are_looked_at(capsys, kind):
    write_own()
    cfg = Config.fromfile('own.py')
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type=kind,
        **(dict(dataset=inner, times=2) if kind == 'RepeatDataset' else dict(datasets=[inner])),
    )
    cfg.dump('own.py')
    Path('photos/train1.png').unlink()
    assert verify() is not None
    printed = capsys.readouterr().out
    assert 'with different labels' not in printed
    assert 'train: MultiLabelDataset' in printed or f'train: {kind}' in printed
    assert 'photos/train1.png: image not found' in printed
    # SADCL's prototypes need a data set with a pipeline
    assert f'{kind} has none: use a dataset without a wrapper' in printed


@pytest.mark.parametrize('hook', ['PrototypeHook', 'ContextMemoryHook', 'a class', 'EMAHook'])
def test_a_second_stage_that_could_not_read_its_data_is_found(capsys, hook):
    write_own()
    cfg = Config.fromfile('own.py')
    cfg.custom_imports = dict(imports=['projects.sadcl', 'projects.ccd'])
    cfg.custom_hooks = [dict(type=hook)]
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=1, dataset=inner)
    cfg.dump('own.py')
    if hook == 'a class':
        with open('own.py', 'a', encoding='utf-8') as file:
            file.write(
                'from projects.sadcl.engine.prototype_hook import PrototypeHook\n'
                'custom_hooks = [dict(type=PrototypeHook)]\n'
            )
    assert (verify() is None) == (hook == 'EMAHook')
    refused = 'RepeatDataset has none: use a dataset without a wrapper' in capsys.readouterr().out
    assert refused == (hook != 'EMAHook')


def test_two_data_sets_that_label_an_image_differently_are_found(capsys):
    write_own()
    cfg = Config.fromfile('own.py')
    inner = cfg.train_dataloader.dataset
    content = json.loads(Path('train.json').read_text())
    content['data_list'][0]['gt_label'] = []
    Path('other.json').write_text(json.dumps(content))
    other = {**inner, 'ann_file': 'other.json'}
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, other])
    cfg.dump('own.py')
    assert verify() is not None
    assert 'train: 1 image listed again with different labels, such as' in capsys.readouterr().out


def test_a_wrong_folder_misses_every_image(capsys):
    write_own()
    Path('empty').mkdir()
    options = 'train_dataloader.dataset.data_prefix=empty'
    assert verify('--cfg-options', options) is not None
    assert 'train: of 4 images, 4 missing and 0 unreadable:' in capsys.readouterr().out


def test_a_copy_of_a_training_image_in_the_test_split_is_found(capsys):
    write_own()
    Path('photos/test2.png').write_bytes(Path('photos/train3.png').read_bytes())
    assert verify('--no-decode') is None  # the bytes are not read
    assert verify() is not None
    assert (
        'test: 1 of 4 images are copies of some in train, such as '
        'photos/train3.png and photos/test2.png' in capsys.readouterr().out
    )


def test_broken_images_are_found_in_processes_and_listed_in_full(capsys):
    write_own()
    whole = Path('photos/train0.png').read_bytes()
    Path('photos/train0.png').write_bytes(b'')
    Path('photos/train1.png').write_bytes(whole[: len(whole) // 2])
    Path('photos/val3.png').write_text('not an image')
    status = call_tool(VERIFY, 'own.py', '--workers', 2, '--out', 'lists/broken.txt')
    assert status == 'error: 2 problems to fix before training, marked WRONG above'
    printed = capsys.readouterr().out
    assert '9 of 12 image files decoded' in printed
    assert 'train: of 4 images, 0 missing and 2 unreadable:' in printed
    listed = Path('lists/broken.txt').read_text().splitlines()
    names = ['photos/train0.png', 'photos/train1.png', 'photos/val3.png']
    assert [line.split(':')[0] for line in listed] == names


def test_more_processes_than_the_system_starts_do_not_hang():
    """Those that had been started waited for work without end."""
    write_own()
    limit = [resource.RLIMIT_NOFILE, (64, 64)]
    result = subprocess.run(
        [sys.executable, ROOT / VERIFY, 'own.py', '--workers', '40'], text=True, timeout=120,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(*limit), check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert re.fullmatch('error: .*Too many open files.* fewer workers.*\n', result.stderr)


def test_one_data_set_for_two_splits_is_read_once(capsys):
    write_own()
    Path('own.py').write_text(Path('own.py').read_text() + '\ntest_dataloader = val_dataloader')
    assert verify() is None
    printed = capsys.readouterr().out
    assert 'test: the same as val\n  warning: the best checkpoint is chosen on the' in printed
    assert '8 of 8 image files decoded' in printed


@pytest.mark.parametrize(
    'loader, message',
    [
        ('train_dataloader', 'test: its images are the training images'),
        (None, 'the config has no data for test'),
    ],
)
def test_a_test_split_that_is_none_does_not_pass(capsys, loader, message):
    write_own()
    cfg = Config.fromfile('own.py')
    cfg.test_dataloader = cfg.get(loader)
    cfg.dump('own.py')
    splits = ['train', 'test'] if loader else ['test']
    assert verify('--splits', *splits) is not None
    assert f'  WRONG: {message}' in capsys.readouterr().out


def test_images_made_on_the_fly_have_no_files(capsys):
    options = ['val_dataloader.dataset.num_images=20']
    command = [VERIFY, DIGITS, '--splits', 'val', '--cfg-options', *options]
    assert call_tool(*command) is None
    assert 'DigitScenes makes any number of images' in capsys.readouterr().out


@pytest.mark.parametrize('tool', [VERIFY, BROWSE])
def test_what_is_no_config_is_one_line(tool):
    assert call_tool(tool, 'own.py').startswith('error: own.py: config not found (in ')
    write_own()
    Path('own.py').write_text('model = dict(\n')
    message = call_tool(tool, 'own.py')
    assert message.startswith('error: ') and '\n' not in message


def test_published_splits_are_told_by_their_counts():
    def name(dataset_type, *counts):
        split = verify_dataset.Split('train', dataset_type, None, [], ['some.jpg'])
        return verify_dataset.fingerprint(split, *counts)

    assert name('COCOMultiLabel', 82081, 80, 240_000).startswith(
        'the counts of COCO train2014 (labelled images only)'
    )
    assert name('COCOMultiLabel', 4952, 80, 14_631).startswith('the counts of COCO val2017 (label')
    assert name('VOCMultiLabel', 4952, 20, 7013).startswith('the counts of VOC 2007 test')
    assert name('VOCMultiLabel', 4952, 20, 7632) == (
        'the size of VOC 2007 test, which has 7013 labels'
    )
    assert "ASL's CSV" in name('NUSWIDE', 119_103, 81, 300_000)
    assert 'a part of one?' in name('NUSWIDE', 119_104, 81, 300_000)
    assert name('MultiLabelDataset', 499, 260, 1756).startswith('the counts of Corel5k test')


@needs_data(VOC_LISTS)
def test_labels_of_voc_2007_are_those_of_its_fingerprint():
    folder = DATA / VOC_LISTS
    for part in ('train', 'val', 'trainval', 'test'):
        flags = [
            line.split()[1]
            for file in folder.glob(f'*_{part}.txt')
            for line in file.read_text().splitlines()
        ]
        images = len((folder / f'{part}.txt').read_text().split())
        split = verify_dataset.Split(part, 'VOCMultiLabel', None, [], [])
        name = verify_dataset.fingerprint(split, images, 20, flags.count('1'))  # 0 is difficult
        assert name.startswith(f'the counts of VOC 2007 {part}')


# ---------------------------------------------------------------- browse


def test_a_sheet_shows_images_and_labels(capsys):
    write_own()
    assert call_tool(BROWSE, 'own.py', '--out', 'deep/sheet.png', '--num', 3) is None
    assert capsys.readouterr().out.endswith('picture: deep/sheet.png\n')
    assert cv2.imread('deep/sheet.png').shape[1] > 3 * 150


def sheet(monkeypatch, seed=0, num=4, repeat=1, **options):
    sheets = []
    monkeypatch.setattr(browse_dataset, 'draw_sheet', lambda *args: sheets.append(args))
    args = browse_dataset.parse_args(['own.py', '--seed', str(seed)])
    args.num, args.repeat, args.cfg_options = num, repeat, options
    browse_dataset.browse(arguments.read_config(args), args)
    return sheets[0]


def test_a_sheet_is_seeded_and_its_colours_are_right(monkeypatch):
    write_own()
    image = np.zeros((24, 32, 3), np.uint8)
    image[..., 2] = 250  # red, as OpenCV writes it
    cv2.imwrite('photos/train0.png', image)
    pictures, captions, columns, title = sheet(monkeypatch)
    assert captions == ['beach', 'boat, person', '(no label)', 'beach, boat, person']
    assert (columns, title) == (4, 'own.py: train, 4 of 4 images')
    assert pictures[0].shape == (224, 224, 3)
    assert (pictures[0] == [250, 0, 0]).all()
    random.random(), np.random.rand(), torch.rand(1)
    for one, other in zip(pictures, sheet(monkeypatch)[0]):
        np.testing.assert_array_equal(one, other)


def test_repeated_draws_differ_and_stand_in_one_row(monkeypatch):
    write_own()
    generator = np.random.default_rng(0)
    for path in Path('photos').glob('train*'):
        cv2.imwrite(str(path), generator.integers(0, 256, (24, 32, 3), np.uint8))
    pictures, captions, columns, _ = sheet(monkeypatch, num=2, repeat=3)
    assert (len(pictures), columns) == (6, 3)
    assert [bool(text) for text in captions] == [True, False, False] * 2
    assert not np.array_equal(pictures[0], pictures[1])


def test_captions_wrap_and_say_what_they_leave_out():
    names = [f'traffic light ${i}' for i in range(40)]
    text = browse_dataset.caption(DataSample().set_gt_label(list(range(40))), names)
    lines = text.splitlines()
    assert len(lines) == browse_dataset.MOST_LINES and lines[-1] == '… 40 labels in all'
    assert max(map(browse_dataset.label_width, lines)) <= browse_dataset.SIDE
    assert all(line.endswith(',') for line in lines[:-1])  # no label is torn
    sample = DataSample().set_gt_label([0, 1])
    assert browse_dataset.caption(sample, ['a, b', 'c d']) == '"a, b", c d'
    sample = DataSample().set_gt_label([])
    sample.set_field([0, 1], 'gt_label_unknown', field_type='metainfo')
    assert browse_dataset.caption(sample, ['a', 'b']) == '(no label), (2 unknown)'
    figure = browse_dataset.draw_sheet([np.zeros((8, 8, 3), np.uint8)] * 7, [text] * 7, 6, 'a $ b')
    assert isinstance(figure, Figure)
    figure.savefig('sheet.png')


def test_captions_of_any_name_stay_below_their_own_picture():
    names = ['W' * 90, '日本語' * 20, 'собака ' * 20, 'a $ b' * 20, 'كلب كبير ' * 20, 'cat']
    captions = [
        browse_dataset.caption(DataSample().set_gt_label([k, (k + 1) % 6]), names) for k in range(6)
    ]
    pictures = [np.zeros((8, 4 + 2 * k, 3), np.uint8) for k in range(6)]
    figure = browse_dataset.draw_sheet(pictures, captions, 3, 'W' * 900)
    figure.savefig('sheet.png')
    title, *texts = [text.get_window_extent() for text in figure.texts]
    assert title.x1 <= figure.bbox.x1
    for number, (text, axes) in enumerate(zip(texts, figure.axes)):
        place = axes.get_window_extent()
        assert text.x0 == pytest.approx(place.x0, abs=3) and text.y1 <= place.y0
        assert not any(text.overlaps(other) for other in texts[number + 1 :])
    assert max(text.x1 for text in texts) <= figure.bbox.x1


def test_browse_refuses_what_it_cannot_draw():
    write_own(dict(train=first(img_path='gone.png')))
    assert 'gone.png' in call_tool(BROWSE, 'own.py')
    message = call_tool(BROWSE, 'own.py', '--cfg-options', 'train_dataloader=None')
    assert message == 'error: the config has no train_dataloader'
    write_own()
    cfg = Config.fromfile('own.py')
    cfg.train_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    cfg.dump('own.py')
    assert 'must end in PackInputs' in call_tool(BROWSE, 'own.py', '--split', 'train')


def test_images_of_12_bits_in_files_of_16_are_named_as_they_would_be_nearly_black(capsys):
    for name, scale in (('dark.png', 1), ('scaled.png', 16)):
        cv2.imwrite(name, np.full((8, 8), 4095 * scale, np.uint16))
    split = image_checks.Split('train', 'X', CLASSES, Images([[], []]), ['dark.png', 'scaled.png'])
    findings = image_checks.Findings()
    image_checks.check_files([split], True, 0, findings)
    assert 'nearly black, at most 15 of 255: 1 image, such as dark.png' in capsys.readouterr().out
    assert not findings.problems


@pytest.mark.parametrize(
    'first, second, problems',
    [
        ('ab', 'bc', ["test: 1 of 2 images also in val: 'b'"]),
        ('ab', 'ba', []),  # a val_dataloader that is the test set
    ],
)
def test_validation_images_may_be_those_of_the_test_all_or_none(first, second, problems):
    findings = image_checks.Findings()
    splits = (
        SimpleNamespace(name=name, paths=list(x))
        for name, x in zip(('val', 'test'), (first, second))
    )
    image_checks.check_leak(*splits, {}, findings)
    assert findings.problems == problems


def test_a_terminal_shows_how_many_images_were_looked_at(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setattr(image_checks, 'CHUNK', 2)
    image_checks.inspect_all(['a', 'b', 'c'], decode=False, workers=0)
    assert [f'{number}/3' in terminal.getvalue() for number in range(4)] == [
        True,
        False,
        True,
        True,
    ]


ENDLESS = """
import os, time
from mlic.cli import image_checks

def wait(path, decode):
    os.write(1, b'up\\n')  # at once: two processes print into one pipe
    time.sleep(600)

image_checks.inspect = wait
image_checks.inspect_all([str(i) for i in range(100)], True, 2)
"""


@pytest.mark.skipif(os.name != 'posix', reason='another way to start processes')
def test_processes_that_decode_images_end_with_a_killed_one(tmp_path):
    """They waited for ever, with all of its memory."""
    with subprocess.Popen(
        [sys.executable, '-c', ENDLESS], stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    ) as process:  # fmt: skip
        lines = [process.stdout.readline() for _ in range(2)]
        process.kill()
        assert lines == ['up\n'] * 2
        process.communicate(timeout=30)  # the pipe is closed: nobody is left to write
