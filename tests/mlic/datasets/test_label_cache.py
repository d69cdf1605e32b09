"""The cache of parsed labels: the same labels, whatever happened to the file or to its source."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import time

import pytest
from filelock import FileLock

from mlic.datasets import label_cache
from mlic.datasets.coco import COCOMultiLabel
from mlic.datasets.label_cache import digest_file, digest_folder, load_labels, locked
from mlic.datasets.nus_wide import NUSWIDE
from mlic.datasets.visual_genome import VG500
from mlic.datasets.voc import VOCMultiLabel
from tests.dataset_files import (
    ZEBRA,
    coco_content,
    write_coco,
    write_lines,
    write_nus,
    write_objects,
    write_vg,
    write_voc,
)

LABELS = dict(
    names=['a.jpg', 'b\u00e4\udc80.jpg'], labels=[[0, 79], []], absent=[None, [1]], left_out=3
)
CLASSES = [str(label) for label in range(80)]


class Parser:
    """Counts how often it parses."""

    def __init__(self, folder):
        self.source = folder / 'source.txt'
        self.source.write_text('1 2 3')
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return LABELS

    def load(self, **settings):
        settings = dict(classes=CLASSES, **settings)
        return load_labels(self.source, [digest_file(self.source)], settings, self)

    def cache(self):
        (path,) = self.source.parent.glob('*.labels')
        return path


@pytest.fixture
def parser(tmp_path):
    return Parser(tmp_path)


def rewrite(path, content):
    """Change a file, but neither its size nor its time."""
    stat = path.stat()
    assert len(content) == stat.st_size
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize('kind', ['link', 'loop', 'folder'])
def test_a_lock_whose_name_is_taken_stops_nobody(parser, tmp_path, monkeypatch, kind):
    """The folder of temporary files is everybody's."""
    name = tmp_path / 'lock'
    monkeypatch.setattr(label_cache, 'lock_file', lambda path, kind: name)
    if kind == 'folder':
        name.mkdir()
    else:
        name.symlink_to(name if kind == 'loop' else tmp_path / 'source.txt')
    for _ in range(2):  # parsed, then from the cache
        assert parser.load() == LABELS
    assert parser.calls == 1 and parser.source.read_text() == '1 2 3'


def test_labels_are_parsed_once_and_come_back_equal(tmp_path, parser, log):
    assert [parser.load(split='train') for _ in range(3)] == [LABELS] * 3
    assert parser.calls == 1
    assert log == [f'{parser.source}: labels from cache {parser.cache()}'] * 2
    assert {path.name for path in tmp_path.iterdir()} == {'source.txt', parser.cache().name}
    assert parser.cache().stat().st_mode & 0o777 == parser.source.stat().st_mode & 0o777


def test_every_setting_has_its_own_cache(tmp_path, parser, log):
    orders = ['a', 'b'], ['b', 'a']
    for settings in 2 * [*({'split': s} for s in 'ab'), *({'order': order} for order in orders)]:
        parser.load(**settings)
    assert parser.calls == len(list(tmp_path.glob('*.labels'))) == 4


def test_another_format_of_the_labels_is_parsed_again(parser, log, monkeypatch):
    parser.load()
    monkeypatch.setattr(label_cache, 'FORMAT', label_cache.FORMAT + 1)
    parser.load()
    assert parser.calls == 2


def test_a_changed_source_is_parsed_again(parser, log):
    parser.load()
    rewrite(parser.source, b'1 2 4')
    parser.load()
    parser.load()
    assert parser.calls == 2
    parser.source.touch()  # a copy, or a file unpacked anew
    parser.load()
    assert parser.calls == 2


def test_a_large_source_is_known_by_its_ends_size_and_time(tmp_path, log, monkeypatch):
    monkeypatch.setattr(label_cache, 'WHOLE_FILE', 9)
    monkeypatch.setattr(label_cache, 'FILE_END', 2)
    path = tmp_path / 'large.json'
    path.write_bytes(b'0123456789')
    digests = [digest_file(path)]
    for content in (b'1123456789', b'0123456788', b'0123456780'):
        rewrite(path, content)
        digests.append(digest_file(path))
    path.write_bytes(b'01234556780')  # one longer, with the same ends
    digests.append(digest_file(path))
    os.utime(path, ns=(1, 1))
    digests.append(digest_file(path))
    path.unlink()
    digests.append(digest_file(path))
    assert len(set(digests)) == len(digests)


def test_a_folder_is_known_by_names_sizes_and_times(tmp_path):
    names = ['a.xml', 'b.xml']
    digests = [digest_folder(tmp_path / 'none', names), digest_folder(tmp_path, names)]
    for change in (
        lambda: (tmp_path / 'a.xml').write_text('1'),
        lambda: (tmp_path / 'b.xml').write_text('1'),
        lambda: (tmp_path / 'b.xml').write_text('12'),
        lambda: os.utime(tmp_path / 'a.xml', ns=(1, 1)),
    ):
        change()
        digests.append(digest_folder(tmp_path, names))
    assert len(set(digests)) == len(digests)
    (tmp_path / 'other.xml').touch()
    assert digest_folder(tmp_path, names[::-1]) == digests[-1]


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: b'',
        lambda content: content[: len(content) // 3],
        lambda content: content[: content.index(b'\n') + 1],
        lambda content: content[:-1],
        lambda content: content[:-20] + bytes(20),
        lambda content: content.replace(b'79', b'78'),
        lambda content: content + b' ',
        lambda content: b'[1, 2]\n' + content,
        lambda content: b'{}\n' + content,
        lambda content: b'\x80\x04\x95pickle',
    ],
)
def test_a_damaged_cache_is_replaced(parser, log, damage):
    parser.load()
    content = parser.cache().read_bytes()
    parser.cache().write_bytes(damage(content))
    assert parser.load() == LABELS
    assert parser.calls == 2
    assert parser.cache().read_bytes() == content


def test_a_folder_in_the_place_of_the_cache_is_no_error(tmp_path, parser, log):
    parser.load()
    path = parser.cache()
    path.unlink()
    path.mkdir()
    assert parser.load() == LABELS
    assert 'no label cache' in log[-1]
    assert sorted(tmp_path.iterdir()) == sorted([parser.source, path])


def test_a_read_only_folder_has_no_cache_and_one_line_of_notice(tmp_path, parser, log):
    tmp_path.chmod(0o555)
    try:
        assert parser.load() == parser.load() == LABELS
        assert [path.name for path in tmp_path.iterdir()] == ['source.txt']
    finally:
        tmp_path.chmod(0o755)
    assert parser.calls == len(log) == 2
    assert log[0].startswith(f'WARNING: {tmp_path}: no label cache, so every run parses') and (
        'read-only' in log[0] and '\n' not in log[0]
    )


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_full_disk_leaves_nothing_behind(tmp_path, parser, log, monkeypatch, call):
    def fail(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        assert parser.load() == LABELS
    assert 'No space left' in log[-1]
    assert [path.name for path in tmp_path.iterdir()] == ['source.txt']
    assert parser.load() == parser.load() == LABELS
    assert parser.calls == 2


def test_an_error_of_the_parser_is_not_cached(parser, log):
    def fail():
        raise ValueError('line 7')

    for _ in range(2):
        with pytest.raises(ValueError, match='line 7'):
            load_labels(parser.source, [digest_file(parser.source)], dict(classes=CLASSES), fail)
    assert parser.load() == LABELS


def _load_slowly(folder, barrier, queue):
    def parse():
        time.sleep(0.5)
        (folder / f'parsed-{os.getpid()}').touch()
        return LABELS

    source = folder / 'source.txt'
    barrier.wait()
    settings = dict(classes=CLASSES)
    found = load_labels(source, [digest_file(source)], settings, parse)
    queue.put(found == LABELS)


@pytest.mark.dist
def test_of_several_processes_one_parses_and_all_get_the_labels(tmp_path):
    (tmp_path / 'source.txt').write_text('1 2 3')
    context = multiprocessing.get_context('fork')
    barrier, queue = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_load_slowly, args=(tmp_path, barrier, queue)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    assert [queue.get(timeout=30) for _ in processes] == [True] * 4
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob('parsed-*'))) == len(list(tmp_path.glob('*.labels'))) == 1
    assert not list(tmp_path.glob('*.partial'))


class SlowLock(FileLock):
    """Leaves others time to lock a file that goes away."""

    def acquire(self):
        return super().acquire(poll_interval=0.001)

    def release(self, force=False):
        super().release(force)
        time.sleep(0.01)


def _enter_often(folder, rounds, queue):
    alone = 0
    for _ in range(rounds):
        with locked(folder / 'labels', 'labels') as file:
            (folder / 'inside').mkdir()  # fails if another one is inside
            time.sleep(0.03)
            (folder / 'inside').rmdir()
            alone += file is not None
    queue.put(alone)


@pytest.mark.dist
def test_a_lock_leaves_no_file_and_still_lets_one_in_at_a_time(tmp_path, monkeypatch):
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
    monkeypatch.setattr(label_cache, 'FileLock', SlowLock)
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [context.Process(target=_enter_often, args=(tmp_path, 10, queue)) for _ in '123']
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert [queue.get(timeout=30) for _ in processes] == [10] * 3
    assert list(temporary.iterdir()) == []


# ---------------------------------------------------------------- the data sets


def change_coco(root):
    content = coco_content()
    content['annotations'][0]['category_id'] = 18
    (root / 'annotations/instances.json').write_text(json.dumps(content))


CSV_LINES = ['filepath,label,split', 'actor/0002_17.jpg,"[\'sky\']",train']
# class, what writes its files and gives its arguments, other arguments, what changes a label
DATASETS = {
    'coco': (COCOMultiLabel, lambda root: write_coco(root, coco_content()), {}, change_coco),
    'official': (
        *(NUSWIDE, write_nus, dict(variant='official')),
        lambda root: write_lines(root / ZEBRA, ['0', '0', '0']),
    ),
    'matrix': (
        *(NUSWIDE, write_nus, dict(variant='matrix')),
        lambda root: write_lines(root / 'ImageList/Labels_Train.txt', ['1 ' * 81] * 3),
    ),
    'csv': (
        *(NUSWIDE, write_nus, dict(variant='csv')),
        lambda root: write_lines(root / 'nus_wid_data.csv', CSV_LINES),
    ),
    'vg': (VG500, write_vg, {}, lambda root: write_vg(root, {'11.jpg': [4]})),
    'voc': (
        *(VOCMultiLabel, write_voc, dict(metainfo=dict(classes=('car', 'person')))),
        lambda root: write_objects(root, '000002', [('person', '0')]),
    ),
}


def read(dataset, log):
    """All items and all lines of the log, without that of the cache."""
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    cached = [line for line in log if 'labels from cache' in line]
    lines = [line for line in log if line not in cached]
    log.clear()
    return items, lines, len(cached)


@pytest.mark.parametrize('name', DATASETS)
def test_a_data_set_is_the_same_from_its_cache(tmp_path, log, monkeypatch, name):
    dataset, write, kwargs, change = DATASETS[name]
    root = tmp_path / 'first'
    root.mkdir()
    kwargs = {**kwargs, **write(root)}
    items, lines, cached = read(dataset(**kwargs), log)
    assert items and lines and not cached
    for path in root.rglob('*.labels'):
        assert str(tmp_path).encode() not in path.read_bytes()

    def parse(*args):
        raise AssertionError('parsed, not read from the cache')

    with monkeypatch.context() as patch:
        patch.setattr(dataset, '_parse', parse)
        assert read(dataset(**kwargs), log) == (items, lines, 1)
        # the whole tree in another place: the same labels under other paths
        second = tmp_path / 'second'
        shutil.copytree(root, second)
        kwargs['data_root'] = str(second)
        moved, moved_lines, cached = read(dataset(**kwargs), log)
        assert cached == 1
        assert moved_lines == [re.sub('/first/', '/second/', line) for line in lines]
        assert [
            {**item, 'img_path': item['img_path'].replace('/second/', '/first/')} for item in moved
        ] == items
        assert all(str(second) in item['img_path'] for item in moved)

    change(second)
    changed, _, cached = read(dataset(**kwargs), log)
    assert not cached
    assert [item['gt_label'] for item in changed] != [item['gt_label'] for item in items]
    assert read(dataset(**kwargs), log)[::2] == (changed, 1)


@pytest.mark.parametrize('name', DATASETS)
def test_a_cache_does_not_hide_a_missing_source(tmp_path, log, name):
    dataset, write, kwargs, _ = DATASETS[name]
    kwargs = {**kwargs, **write(tmp_path)}
    dataset(**kwargs)
    (cache,) = tmp_path.rglob('*.labels')
    source = cache.with_name(cache.name.split('.txt.')[0].split('.json.')[0].split('.csv.')[0])
    (source,) = (path for path in source.parent.iterdir() if path.stem == source.name)
    source.unlink()
    with pytest.raises(FileNotFoundError, match=f'{source.name} not found'):
        dataset(**kwargs)


def test_dropped_images_share_the_cache_of_the_kept_ones(tmp_path, log):
    kwargs = write_coco(tmp_path, coco_content())
    sizes = [len(COCOMultiLabel(labelled_only=only, **kwargs)) for only in (True, False)]
    assert sizes == [2, 3]
    assert 'labels from cache' in log[-2]
