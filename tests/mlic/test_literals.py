"""Configs that are written as Python: they read back as the same plain values, or are refused."""

import ast
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mlic.comparison.recipes import recipe_text
from mlic.datasets.own_data.config import config_text as own_config_text
from mlic.datasets.own_data.splits import Image
from mlic.literals import check_literals, parse_literals, write_literals

EVIL = "__import__('pathlib').Path('ran').touch()"
KEY = f"a': {EVIL}, 'b"
HOSTILE = [
    {'a': {KEY: 1}},
    {'a': [{KEY: {}}]},
    {f'a = {EVIL}\nb': 1},
    {'a': {"'": 1, "b'": 2}},
    {'a': '{{$HOME:' + f'"+{EVIL}+"' + '}}'},
    {'a': '{{ fileDirname }}', 'b': {'c': '{{_base_.a}}'}},
    {'_base_': './notes.py'},
    {'a': math.nan},
    {'a': [-math.inf]},
    {'a': (1, [2, (3,)])},
    {'a': {1: 2, None: 3, (4, 5): 6, False: 7}},
    {'a': {'': 0, '1': 1, 'class': 2, 'é': 3}},
    {'a': {'class': 2}, 'class': 1},
    {'a': {1, 2}, 'b': b"'\x00"},
    {'a': 'long words ' * 40},
    {'a': open},
    {'a': type('Thing', (), {})},
]
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=9)
VALUES = st.recursive(
    ATOMS | st.text(max_size=20) | st.sampled_from([EVIL, KEY, '{{', "'", '"""', '\\', '\n']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=6) | st.sampled_from([KEY, "'", 'a', 'b1']) | st.integers(), inner
        )
    ),
    max_leaves=6,
)


def same(first, second):
    """Equal, with the same types everywhere; a number that is none is none."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        key_types = [sorted(map(str, map(type, value))) for value in (first, second)]
        return (
            first.keys() == second.keys()
            and key_types[0] == key_types[1]
            and all(same(first[key], second[key]) for key in first)
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second and str(first) == str(second)


def values_of(config):
    """All that a config holds in Python's own types: the stock ``to_dict`` keeps inner dicts."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(plain, value))
        return value

    return plain(config.to_dict())


def publish_text(config):
    return write_literals(config.to_dict(), 'run.pth')


def written(write, values):
    """The text of a config, or None if it is refused, in one line."""
    try:
        return write(Config(values))
    except ValueError as error:
        # the error of a parser may show the line that it read
        assert str(error)
        return None


CONFIGS = st.dictionaries(
    st.text(max_size=4) | st.sampled_from(['a', 'model']), VALUES, max_size=4
).filter(lambda values: not {'filename', 'text', 'pretty_text', 'env_variables'} & {*values})
WRITERS = pytest.mark.parametrize('write', [publish_text, recipe_text])


def reads_back_or_is_refused(write, values):
    text = written(write, values)
    if text is not None:
        assert same(parse_literals(text), values_of(Config(values)))
        assert '{{' not in text and '_base_' not in values


@WRITERS
@given(values=CONFIGS)
@settings(deadline=None, derandomize=True)
def test_a_written_config_reads_back_with_equal_values_or_is_refused(write, values):
    reads_back_or_is_refused(write, values)


@pytest.mark.slow
@WRITERS
@given(values=CONFIGS)
@settings(deadline=None, derandomize=True, max_examples=2000)
def test_many_written_configs_read_back_or_are_refused(write, values):
    reads_back_or_is_refused(write, values)


@WRITERS
@pytest.mark.parametrize('values', HOSTILE, ids=str)
def test_a_written_config_runs_nothing_and_is_what_mmengine_reads(
    write, values, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path('notes.py').write_text(EVIL)
    text = written(write, values)
    if text is not None:
        Path('config.py').write_text(text, encoding='utf-8')
        assert same(Config.fromfile('config.py').to_dict(), Config(values).to_dict())
    assert not Path('ran').exists()


def test_what_is_usual_is_not_refused():
    for values in (HOSTILE[9], HOSTILE[14], {'a': {'b.c': 1.5, '0': None}, 'b': "it's"}):
        assert written(publish_text, values) and written(recipe_text, values)
    assert written(recipe_text, HOSTILE[0])  # it escapes keys


def test_the_check_sees_every_difference():
    for text, values in (
        ('a = 1', dict(a=True)),
        ('a = 1', dict(a=1.0)),
        ('a = (1,)', dict(a=[1])),
        ('a = 1\nb = 2', dict(a=1)),
        ('a = 1', dict(a=1, b=2)),
        ('a = -0.0', dict(a=0.0)),
        ("a = {'1': 2}", dict(a={1: 2})),
    ):
        with pytest.raises(ValueError, match='read back, it has other values'):
            check_literals(text, values, 'it')
    assert check_literals('b = 1e3\na = dict(c=None)', dict(a=dict(c=None), b=1000.0), 'it')


NAMES = ["it's", 'a"b', 'two\nlines', "'+open('ran','w').name+'", '{0}', 'ü #', '\udcff', '\\n']


@pytest.mark.parametrize('name', NAMES, ids=ascii)
def test_the_name_of_a_folder_stays_text_in_the_config_for_own_images(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels, images = tmp_path / name, tmp_path / f'{name}2'
    splits = {split: [Image('a.jpg', ['b'], split)] * 4 for split in ('train', 'val', 'test')}
    text = own_config_text(labels / 'own.py', labels, images, splits, ['b'], None, 'from_csv.py')
    values = {ast.unparse(node.targets[0]): node.value for node in ast.parse(text).body}
    assert ast.literal_eval(values['_base_']).endswith('sadcl_efficientnet-lite0_own224.py')
    assert ast.literal_eval(values['(labels, images)']) == (str(labels), str(images))


def test_braces_in_the_name_of_a_folder_are_refused(tmp_path):
    splits = {split: [Image('a.jpg', ['b'], split)] * 4 for split in ('train', 'val', 'test')}
    folder = tmp_path / '{{ fileDirname }}'
    with pytest.raises(ValueError, match='fileDirname }}.*means something else in a config file'):
        own_config_text(folder / 'own.py', folder, tmp_path, splits, ['b'], None, 'from_csv.py')


def test_a_large_config_is_written_within_seconds():
    """mmengine's formatter takes half an hour for this one, of 400,000 characters."""
    values = dict(x={f'k{i}': {'a': [{'b': i}]} for i in range(10_000)})
    started = time.process_time()
    assert parse_literals(write_literals(values, 'it')) == values
    assert time.process_time() - started < 60
