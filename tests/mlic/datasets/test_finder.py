"""Which file a name in a table means: one, or the table is refused."""

import os
import time
from pathlib import Path
from unicodedata import normalize

import pytest

from mlic.datasets.own_data.choices import Choices
from mlic.datasets.own_data.finder import ImageFinder, clean
from mlic.datasets.own_data.rows import read_images
from mlic.datasets.own_data.table import read_tables
from tests.dataset_files import write_photos

pytestmark = pytest.mark.usefixtures('empty_folder')


def read(names, tables=None, skip_missing=False):
    """{image: its labels} of tables with a row for each label, which is the number of the row."""
    tables = tables or {'labels.csv': names}
    for path, rows in tables.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lines = [f'"{name}",l{number}' for number, name in enumerate(rows)]
        Path(path).write_text('\n'.join(['image,label', *lines]) + '\n')
    table = read_tables([Path(path) for path in tables])
    images, *_ = read_images(table, Path('photos'), Choices(), skip_missing)
    return {image.path: sorted(image.labels) for image in images}


@pytest.mark.parametrize('before', ['/data/photos/', 'gs://bucket/x/', 's3://bucket/', '/home/me/'])
def test_a_path_that_is_no_web_address_keeps_its_marks(before):
    names = ['a.jpg', 'a#1.jpg', 'b?x.jpg', 'c%20.jpg', 'd+e.jpg']
    write_photos(*names, 'c .jpg', 'b.jpg')
    expected = {name: [f'l{number}'] for number, name in enumerate(names)}
    assert read([before + name for name in names]) == expected
    missing = [before + 'a.jpg', before + 'b?y.jpg']
    with pytest.raises(ValueError, match=r"1 of 2 images are not in photos: .*b\?y.jpg' \(line 3"):
        read(missing)


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('https://x.org/a%20b/1.jpg?size=2#top', 'x.org/a b/1.jpg'),
        ('HTTP://x.org/1.jpg?d=200', 'x.org/1.jpg'),
        ('file:///home/a%23.jpg', 'home/a#.jpg'),
        ('/data/local-files/?d=x%20y/1.jpg', 'x y/1.jpg'),
        ('https://host/data/local-files/?d=x%20y/1.jpg', 'x y/1.jpg'),
        ('/data/upload/3/0a1b2c3d-a%20b.jpg', 'data/upload/3/0a1b2c3d-a b.jpg'),
        ('/data/upload/a#1.jpg', 'data/upload/a#1.jpg'),
        ('/data/a%20b#1?.jpg', 'data/a%20b#1?.jpg'),
        ('gs://bucket/a%20b#1?.jpg', 'bucket/a%20b#1?.jpg'),
        ('gs://bucket//a.jpg', 'bucket/a.jpg'),
        ('C:\\x\\.\\1.jpg', 'C:/x/1.jpg'),
        ('https://[::1/1.jpg', 'https://[::1/1.jpg'),
    ],
)
def test_only_web_addresses_and_those_of_label_studio_are_decoded(name, path):
    assert clean(name) == path


def test_files_whose_names_look_like_an_address_or_a_windows_path_are_found_as_they_are():
    write_photos('a\\0.jpg', 'a/1.jpg', 'b%202.jpg', 'c 3.jpg', 'D%20\u00e9/4.jpg', 'e?f.jpg')
    finder = ImageFinder(Path('photos'))
    here, there = ['a\\0.jpg', 'a\\1.jpg'], ['b%202', 'c%203', 'd%20\u00e9/4', 'e?f']
    for names, files in (
        (here, ['a\\0.jpg', 'a/1.jpg']),
        (
            [f'https://x.org/{name}.jpg' for name in there],
            ['b%202.jpg', 'c 3.jpg', 'D%20\u00e9/4.jpg', 'e?f.jpg'],
        ),
    ):
        found, _ = finder.find_all(names, [Path('labels.csv')] * len(names))
        assert [x and x.path for x in found] == files


@pytest.mark.skipif(os.name == 'nt', reason='file names are text there')
def test_an_address_may_hold_bytes_that_are_not_utf8():
    write_photos('caf\udce9%.jpg', 'th\udce9.jpg')
    finder = ImageFinder(Path('photos'))
    names = ['https://x.org/caf\udce9%.jpg', 'https://x.org/th%e9.jpg']
    found, _ = finder.find_all(names, [Path('labels.csv')] * 2)
    assert [x and x.path for x in found] == ['caf\udce9%.jpg', 'th\udce9.jpg']


def test_a_table_in_a_folder_of_images_means_images_below_it():
    write_photos('train/1.jpg', 'test/0.jpg', 'test/1.jpg', '2.jpg', 'other/3.jpg')
    train, test = 'photos/train/_classes.csv', 'photos/test/_classes.csv'
    assert read(None, {train: ['1.jpg'], test: ['0.jpg', '1']}) == {
        'train/1.jpg': ['l0'],
        'test/0.jpg': ['l0'],
        'test/1.jpg': ['l1'],
    }
    for elsewhere in ('0.jpg', '0.JPG', '0', '2.jpg'):
        tables = {train: ['1.jpg', elsewhere], test: ['0.jpg', '1.jpg']}
        with pytest.raises(ValueError, match=f"not in photos: '{elsewhere}' .*train.*line 3"):
            read(None, tables)
        assert set(read(None, tables, skip_missing=True)) == {
            *('train/1.jpg', 'test/0.jpg', 'test/1.jpg')
        }
    # with a folder that is not there, it counts from the image folder
    assert read(None, {train: ['1.jpg', 'other/3.jpg']}) == {
        'train/1.jpg': ['l0'],
        'other/3.jpg': ['l1'],
    }
    write_photos('train/other/4.jpg')
    with pytest.raises(ValueError, match="not in photos: 'other/3.jpg'"):
        read(None, {train: ['1.jpg', 'other/3.jpg']})


def test_a_table_in_a_linked_folder_means_images_below_it():
    write_photos('../real/1.jpg', 'test/0.jpg', 'test/1.jpg')
    Path('photos/train').symlink_to('../real')
    table = 'photos/train/_classes.csv'
    assert set(read(None, {table: ['1.jpg']})) == {'train/1.jpg'}
    with pytest.raises(ValueError, match="not in photos: '0.jpg'"):
        read(None, {table: ['1.jpg', '0.jpg']})


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('IMG.jpg', 'img.JPG'),
        ('x/c.jpg', 'c.jpg'),
        ('b', 'b.jpg'),
        ('photos/b.jpg', 'b.jpg'),
        ('/data/upload/1/0a1b2c3d-b.jpg', '/data/upload/1/1a1b2c3d-b.jpg'),
    ],
)
def test_two_names_for_one_file_are_refused_with_both_lines(one, other):
    write_photos('IMG.jpg', 'b.jpg', 'x/c.jpg', 'd.jpg')
    assert len(read([one, one, 'd.jpg'])) == 2
    with pytest.raises(ValueError) as error:
        read([one, 'd.jpg', one, other])
    assert f'{one!r} (line 2) and {other!r} (line 5) would both be the image' in str(error.value)


def test_a_name_in_two_rows_is_one_name_whatever_the_address_has_around_it():
    write_photos('b.jpg', 'd.jpg')
    names = ['https://x.org/b.jpg?size=1', 'https://x.org/b.jpg?size=2', 'https://x.org/d.jpg']
    assert read(names) == {'b.jpg': ['l0', 'l1'], 'd.jpg': ['l2']}


def test_accents_in_two_forms_are_two_files_if_both_are_there():
    composed, decomposed = (normalize(form, '\u00e9.jpg') for form in ('NFC', 'NFD'))
    write_photos(decomposed, 'b.jpg')
    assert read([composed, decomposed, 'b.jpg']) == {decomposed: ['l0', 'l1'], 'b.jpg': ['l2']}
    write_photos(composed)
    for name in (composed, decomposed):
        for skip_missing in (False, True):
            with pytest.raises(ValueError, match='1 of 2 names mean several files of photos'):
                read([name, 'b.jpg'], skip_missing=skip_missing)


@pytest.mark.parametrize('before', ['photos/', 'C:/my/photos/'])
def test_a_name_that_is_two_files_by_the_folders_before_it_is_refused(before):
    names = [f'{before}{i}.jpg' for i in range(30)]
    write_photos(*(f'{i}.jpg' for i in range(30)))
    expected = {f'{i}.jpg': [f'l{i}'] for i in range(30)}
    assert read(names) == expected
    write_photos('photos/3.jpg')
    assert read([f'{Path.cwd()}/photos/{i}.jpg' for i in range(30)]) == expected
    with pytest.raises(ValueError, match=r"such as '.*photos/3.jpg' \(line 5\): .*photos/3.jpg"):
        read(names)


def test_a_file_in_a_folder_that_is_linked_is_one_file():
    write_photos('zz/1.jpg', 'zz/2.jpg', '3.jpg')
    Path('photos/aa').symlink_to('zz')
    for before in ('aa/', 'zz/'):
        names = [f'{before}1.jpg', f'{before}2.jpg', '3.jpg']
        assert read(names) == {name: [f'l{i}'] for i, name in enumerate(names)}
    assert len(read(['1.jpg', '2.jpg', '3.jpg'])) == 3
    write_photos('other/1.jpg')
    with pytest.raises(ValueError, match='aa/1.jpg, other/1.jpg, …'):
        read(['1.jpg', '2.jpg', '3.jpg'])


def test_a_link_to_nothing_is_a_missing_image():
    write_photos('a.jpg', 'b.jpg')
    Path('photos/c.jpg').symlink_to('nowhere.jpg')
    with pytest.raises(ValueError, match=r"1 of 3 images are not in photos: 'c.jpg' \(line 4\)"):
        read(['a.jpg', 'b.jpg', 'c.jpg'])
    assert set(read(['a.jpg', 'b.jpg', 'c.jpg'], skip_missing=True)) == {'a.jpg', 'b.jpg'}


@pytest.mark.parametrize('count', [3, 60])
def test_names_that_lack_folders_are_found_however_many_folders_have_them(count):
    files = [f'{"xy"[i % 2]}/p{i}/1.jpg' for i in range(count)]
    write_photos(*files)
    for names in (
        [f'p{i}/1.jpg' for i in range(count)],
        [f'P{i}/1' for i in range(count)],
        [f'set/p{i}/1.jpg' for i in range(count)],
    ):
        assert read(names) == {file: [f'l{i}'] for i, file in enumerate(files)}


def test_many_files_of_one_name_take_no_time():
    count = 20_000
    files = [f'set/p{i}/images/1.jpg' for i in range(count)]
    start = time.process_time()
    finder = ImageFinder(Path('photos'), files)
    tables = [Path('labels.csv')] * count
    found, _ = finder.find_all([f'p{i}/images/1.jpg' for i in range(count)], tables)
    assert [x and x.path for x in found] == files
    found, _ = finder.find_all(['1.jpg'] * count, tables)
    assert not any(found)
    assert time.process_time() - start < 5
