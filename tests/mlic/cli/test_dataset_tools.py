import json
from pathlib import Path

import pytest
from mmpretrain.datasets import MultiLabelDataset

from mlic.cli import corel5k_to_json
from tests.helpers import DATA, call_tool, needs_data, run_tool

TOOL = 'tools/dataset_tools/corel5k_to_json.py'


@pytest.fixture
def corel5k(tmp_path):
    """Four training and two test images over five words, with the blanks of the real files."""
    source = tmp_path / 'corel5k'
    for folder in ('labels', 'train_jpeg', 'test_jpeg'):
        (source / folder).mkdir(parents=True)
    labels = source / 'labels'
    labels.joinpath('words').write_bytes(b'city\r\nsky\r\nsun\r\nwater\r\nboat\r\n')
    labels.joinpath('training_label').write_bytes(
        b'10 4 2    \r\n11 2 2 1  \r\n13 3   \r\n14 4 1 2 3 \r\n'
    )
    labels.joinpath('test_label').write_bytes(b'12 2 5  \r\n15 4  \r\n')
    for folder, ids in (('train_jpeg', (10, 11, 13, 14)), ('test_jpeg', (12, 15))):
        for image_id in ids:
            (source / folder / f'{image_id}.jpeg').write_bytes(b'')
    return source


def items(path):
    return json.loads(path.read_text())['data_list']


def test_words_of_both_splits_become_the_classes(corel5k, tmp_path, capsys):
    out = tmp_path / 'out'
    corel5k_to_json.convert(corel5k, out, val_fraction=0.25, seed=0)
    train = json.loads((out / 'train.json').read_text())
    assert train['metainfo']['classes'] == ['sky', 'water']  # in the order of the words file
    assert train['data_list'] == [
        {'img_path': 'train_jpeg/10.jpeg', 'gt_label': [0, 1]},
        {'img_path': 'train_jpeg/11.jpeg', 'gt_label': [0]},  # the repeated word counts once
        {'img_path': 'train_jpeg/13.jpeg', 'gt_label': []},
        {'img_path': 'train_jpeg/14.jpeg', 'gt_label': [0, 1]},
    ]
    assert items(out / 'test.json') == [
        {'img_path': 'test_jpeg/12.jpeg', 'gt_label': [0]},
        {'img_path': 'test_jpeg/15.jpeg', 'gt_label': [1]},
    ]
    printed = capsys.readouterr().out
    assert '5 words: 4 in training, 2 in both splits' in printed
    assert 'train.json: 4 images, 1 of them without one of the words' in printed


def test_held_out_part_is_disjoint_and_seeded(corel5k, tmp_path):
    held_out = []
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        out = tmp_path / str(number)
        corel5k_to_json.convert(corel5k, out, val_fraction=0.25, seed=seed)
        part, val = items(out / 'train_part.json'), items(out / 'val.json')
        assert (len(part), len(val)) == (3, 1)
        assert sorted(part + val, key=str) == sorted(items(out / 'train.json'), key=str)
        held_out.append(val)
    assert held_out[0] == held_out[1]
    assert any(val != held_out[0] for val in held_out)
    corel5k_to_json.convert(corel5k, tmp_path / 'all', val_fraction=0, seed=0)
    assert not (tmp_path / 'all' / 'val.json').exists()
    with pytest.raises(ValueError, match='--val-fraction 0.9 of 4 images leaves none to train on'):
        corel5k_to_json.convert(corel5k, tmp_path / 'none', val_fraction=0.9, seed=0)
    assert not (tmp_path / 'none').exists()


def test_json_is_read_by_multilabel_dataset_through_a_link(corel5k, tmp_path):
    out, link = tmp_path / 'out', tmp_path / 'link'
    corel5k_to_json.convert(corel5k, out, val_fraction=0, seed=0)
    link.symlink_to(corel5k, target_is_directory=True)
    dataset = MultiLabelDataset(ann_file=str(out / 'train.json'), data_prefix=str(link))
    assert dataset.metainfo['classes'] == ['sky', 'water']
    assert all(Path(dataset.get_data_info(i)['img_path']).is_file() for i in range(len(dataset)))
    assert dataset.get_cat_ids(2) == []


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('training_label', '10 1\n11 6\n', 'line 2: word number 6 is not in 1..5'),
        ('training_label', '10 0\n', 'line 1: word number 0 is not in 1..5'),
        ('test_label', '12\n', """line 1: expected "imageid word word ...", got '12'"""),
        ('test_label', '12 sky\n', "got '12 sky'"),
        ('test_label', '12 1\n12 2\n', 'line 2: image 12 is listed for the second'),
        ('test_label', '\n', 'test_label: found 0 lines, expected'),
        ('test_label', '99 1\n', 'test_label, line 1: image 99 is listed, but'),
        ('words', 'sky sky sun', "words: expected unique words, got 3 with ['sky']"),
        ('words', None, 'words not found; docs/datasets.md'),
    ],
)
def test_bad_input_is_named_with_file_line_and_value(corel5k, tmp_path, name, text, message):
    (corel5k / 'labels' / name).unlink()
    if text is not None:
        (corel5k / 'labels' / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        corel5k_to_json.convert(corel5k, tmp_path / 'out', val_fraction=0.1, seed=0)
    assert message in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_command_line(corel5k, tmp_path):
    run_tool(TOOL, corel5k, '--out', tmp_path / 'out')
    names = {'train.json', 'train_part.json', 'val.json', 'test.json'}
    found = {path.name for path in (tmp_path / 'out').iterdir()}
    assert found == {*names, 'frequent_words.txt', 'frequent'}
    assert {path.name for path in (tmp_path / 'out' / 'frequent').iterdir()} == names
    message = call_tool(TOOL, tmp_path / 'nowhere')
    assert message.startswith('error: ') and 'nowhere' in message and '\n' not in message


@needs_data('corel5k')
def test_real_corel5k_has_the_customary_counts(tmp_path, capsys):
    corel5k_to_json.convert(DATA / 'corel5k', tmp_path, val_fraction=0.1, seed=0)
    printed = capsys.readouterr().out
    assert '374 words: 371 in training, 260 in both splits' in printed
    counts = {name: len(items(tmp_path / f'{name}.json')) for name in ('train', 'test', 'val')}
    assert counts == dict(train=4500, test=499, val=450)
    assert len(json.loads((tmp_path / 'train.json').read_text())['metainfo']['classes']) == 260
    words = (tmp_path / 'frequent_words.txt').read_text().split('\n')[:-1]
    assert len(words) == 74
    # the frequent words alone: the same images and the same words of each
    whole, frequent = (
        json.loads((tmp_path / folder / 'test.json').read_text()) for folder in ('', 'frequent')
    )
    assert frequent['metainfo']['classes'] == words
    for item, few in zip(whole['data_list'], frequent['data_list']):
        assert few['img_path'] == item['img_path']
        named = [whole['metainfo']['classes'][label] for label in item['gt_label']]
        kept = [words[label] for label in few['gt_label']]
        assert sorted(kept) == sorted(word for word in named if word in words)
    assert sum(not item['gt_label'] for item in items(tmp_path / 'train.json')) == 7
