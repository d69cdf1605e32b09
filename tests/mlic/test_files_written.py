"""What is written is there whole, or what was there before is."""

import ast
import csv
import errno
import json
import os
import stat

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlic import files
from tests.helpers import ROOT

NAME = os.fsdecode(b'caf\xe9, "a"\n.png')  # a file name that is not UTF-8


def read_csv(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def figure():
    figure = Figure((1, 1))
    figure.add_subplot().plot([1, 2])
    return figure


PICTURE = Image.new('RGB', (30, 20), (200, 10, 10))
WRITERS = {
    'a.txt': lambda path: files.write_text(path, 'straße 日本\r\n'),
    'a.json': lambda path: files.write_json(path, {NAME: ['日本', 1.5]}),
    'a.csv': lambda path: files.write_csv(path, [['name'], [NAME], ['日本']]),
    'a.npz': lambda path: files.write_arrays(path, x=np.arange(5)),
    **{
        f'a.{kind}': lambda path: files.write_picture(path, PICTURE)
        for kind in ('png', 'jpg', 'JPEG', 'pdf')
    },
    **{
        f'b.{kind}': lambda path: files.write_picture(path, figure())
        for kind in ('png', 'jpg', 'svg', 'pdf')
    },
}


@pytest.mark.parametrize('name', WRITERS)
def test_a_disk_that_is_full_leaves_the_former_file(tmp_path, name, monkeypatch):
    path = tmp_path / 'new' / name
    WRITERS[name](path)
    assert path.stat().st_size > 10 and list(path.parent.iterdir()) == [path]
    path.write_bytes(b'former')

    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(files.FileWriteError, match=f'{name} was not written .No space left'):
        WRITERS[name](path)
    assert path.read_bytes() == b'former' and list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_synchronised_takes_files_as_others_do(tmp_path, monkeypatch):
    synchronise = os.fsync

    def only_files(descriptor):  # as on some network drives
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, 'Invalid argument')
        synchronise(descriptor)

    monkeypatch.setattr(os, 'fsync', only_files)
    files.write_texts({tmp_path / 'a': 'x', tmp_path / 'b': 'y'})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {'a': 'x', 'b': 'y'}


def test_of_several_texts_none_changes_before_all_are_on_the_disk(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in 'abc']
    files.write_texts(dict.fromkeys(paths, 'former'))
    done = []

    def second_is_full(descriptor):
        done.append(descriptor)
        if len(done) == 2:
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', second_is_full)
    with pytest.raises(files.FileWriteError, match=f'^{paths[1]} was not written .No space left'):
        files.write_texts(dict.fromkeys(paths, 'new'))
    assert {path: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(paths, 'former')


def test_what_cannot_be_written_leaves_the_former_file(tmp_path):
    class Broken(Image.Image):
        def save(self, file, *_, **__):
            file.write(b'half')
            raise RuntimeError('encoder')

    path = tmp_path / 'a.png'
    path.write_bytes(b'former')
    for write in (
        lambda: files.write_picture(path, Broken()),
        lambda: files.write_json(path, {'a': object()}),
        lambda: files.write_csv(path, iter([['a'], 7])),
    ):
        with pytest.raises((RuntimeError, TypeError, csv.Error)):
            write()
        assert path.read_bytes() == b'former' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name', ['file/a.json', 'file/deep/a.json'])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, name):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(files.FileWriteError, match=r'a.json was not written \(.*file') as error:
        files.write_text(tmp_path / name, 'y')
    assert str(error.value).startswith(str(tmp_path / name))
    with pytest.raises(files.FileWriteError):
        files.write_texts({tmp_path / 'first': 'y', tmp_path / name: 'y'})
    assert [path.name for path in tmp_path.iterdir()] == ['file']
    assert (tmp_path / 'file').read_text() == 'x'


def test_what_was_written_reads_back(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name)
    assert (tmp_path / 'a.txt').read_bytes().decode() == 'straße 日本\r\n'
    text = (tmp_path / 'a.json').read_text(encoding='utf-8')
    assert json.loads(text) == {NAME: ['日本', 1.5]} and '日本' in text  # the very name
    shown = NAME.encode('utf-8', 'backslashreplace').decode()
    assert read_csv(tmp_path / 'a.csv') == [['name'], [shown], ['日本']]
    np.testing.assert_array_equal(np.load(tmp_path / 'a.npz')['x'], np.arange(5))
    kinds = {'png': 'PNG', 'jpg': 'JPEG', 'JPEG': 'JPEG'}
    for path in tmp_path.iterdir():
        if path.suffix[1:] in kinds:
            with Image.open(path) as image:
                image.load()
                assert image.format == kinds[path.suffix[1:]]
    assert (tmp_path / 'a.pdf').read_bytes()[:4] == (tmp_path / 'b.pdf').read_bytes()[:4] == b'%PDF'


def test_a_link_stays_and_its_file_is_replaced_as_a_whole(tmp_path):
    (tmp_path / 'there').mkdir()
    file, link = tmp_path / 'there/a.json', tmp_path / 'link.json'
    link.symlink_to('there/a.json')
    for number in (1, 2):  # at first it leads to nothing
        files.write_json(link, number)
        assert json.loads(file.read_text()) == number
    with pytest.raises(TypeError):
        files.write_json(link, object())
    assert link.is_symlink() and json.loads(file.read_text()) == 2
    assert {path.name for path in tmp_path.rglob('*')} == {'there', 'a.json', 'link.json'}


@pytest.mark.parametrize(
    'write', [files.write_text, lambda path, text: files.write_texts({path: text})]
)
@pytest.mark.parametrize('linked', [False, True])
def test_a_pipe_is_written_into_and_stays_one(tmp_path, write, linked):
    pipe = path = tmp_path / 'pipe'
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / 'link'
        path.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(path, 'text')
        assert os.read(reader, 100) == b'text'
        with pytest.raises(ZeroDivisionError), files.atomic_write(path):
            raise ZeroDivisionError
    finally:
        os.close(reader)
    assert pipe.is_fifo() and path.is_symlink() is linked
    assert len(list(tmp_path.iterdir())) == 1 + linked


# that write as they go, or hold a lock; all else goes through mlic.files
ITS_OWN = {
    'mlic/files.py',
    'mlic/cli/infer.py',  # scores.csv, row by row
    'mlic/comparison/runs.py',  # what the tools print
    'mlic/engine/runner/folder_lock.py',  # a lock
    'mlic/datasets/label_cache.py',  # a name that is free, then a rename
    'mlic/datasets/feature_cache.py',  # a draft, then a rename
    'mlic/engine/checkpoints/safetensors_file.py',  # into the memory
    'mlic/cli/export.py',  # ONNX to a folder of its own, then a rename
    'mlic/cli/publish_model.py',  # a checkpoint into the memory
    'mlic/cli/published_to_mm.py',  # the same
    'mlic/cli/benchmark/pipeline.py',  # photographs for the time of a measurement
    'mlic/visualization/report.py',  # pictures into the memory
}
WRITING = {'write_text', 'write_bytes', 'savefig', 'savez', 'savez_compressed', 'dump', 'imwrite'}


def written_in(path):
    """Lines of a file with a call that writes under a name."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        texts = [value.value for value in values if isinstance(value, ast.Constant)]
        opened = name == 'open' and any(str(text).startswith(('w', 'x', 'a')) for text in texts)
        to_name = name == 'save' and 'file' not in [getattr(value, 'id', '') for value in values]
        if opened or to_name or (name in WRITING and isinstance(node.func, ast.Attribute)):
            yield node.lineno


def test_every_file_is_written_by_the_functions_that_leave_none_cut_off():
    found = {
        f'{path.relative_to(ROOT)}:{line}'
        for folder in ('mlic', 'projects', 'tools')
        for path in (ROOT / folder).rglob('*.py')
        if str(path.relative_to(ROOT)) not in ITS_OWN
        for line in written_in(path)
    }
    assert sorted(found) == []
