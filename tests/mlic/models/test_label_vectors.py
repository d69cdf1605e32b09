"""Vectors of classes by their names. C classes, E width of a vector."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mlic.class_info import ClassInfo
from mlic.datasets.coco import COCO_CATEGORIES
from mlic.models.layers.label_vectors import LabelVectors, read_vectors
from tests.helpers import recorded


def write(path, *lines):
    """A file of these lines."""
    path.write_text(''.join(f'{line}\n' for line in lines), 'utf-8')
    return path


def numbered(path, *words):
    """The i-th word has the vector (i, i)."""
    return write(path, *(f'{word} {i} {i}' for i, word in enumerate(words)))


@pytest.mark.parametrize(
    'name', ['pottedplant', 'potted plant', 'Potted_Plant', 'POTTED-PLANT', ' potted  plant ']
)
@pytest.mark.parametrize('word', ['pottedplant', 'potted_plant', 'Potted-plant', 'POTTED plant'])
def test_a_name_is_found_whatever_its_case_and_blanks(tmp_path, name, word):
    path = numbered(tmp_path / 'v.txt', 'the', word, 'potted', 'plant')
    assert read_vectors(path, [name]).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ('name', 'words', 'expected'),
    [
        ('Turkey', ['TURKEY', 'turkey', 'Turkey'], 'Turkey'),
        ('Turkey', ['TURKEY', 'turkey'], 'turkey'),
        ('Turkey', ['TURKEY', 'TurKey'], 'TURKEY'),
        ('turkey', ['Turkey', 'turkey'], 'turkey'),
        ('hot dog', ['hotdog', 'hot_dog'], 'hot_dog'),
        ('Hot Dog', ['hotdog', 'hot_dog', 'HOT_DOG'], 'hot_dog'),
        ('hot dog', ['hot', 'dog', 'hotdog'], 'hotdog'),
        ('T-shirt', ['tshirt', 't-shirt'], 't-shirt'),
        ('cat', ['cat', 'cat'], 'cat'),  # of two equal lines the first
    ],
)
def test_the_exact_spelling_comes_first_then_lower_case_then_the_first_line(
    tmp_path, name, words, expected
):
    path = numbered(tmp_path / 'v.txt', *words)
    number = words.index(expected)
    assert read_vectors(path, [name]).tolist() == [[number, number]]


def test_vectors_of_one_number_have_no_header(tmp_path):
    path = write(tmp_path / 'v.txt', 'cat 1', 'dog 2')
    assert read_vectors(path, ['cat', 'dog']).tolist() == [[1], [2]]


def test_several_words_without_a_line_are_the_mean_of_theirs(tmp_path):
    path = write(tmp_path / 'v.txt', 'dining 1 2', 'Table 3 -2', 'the 0 0', 'stop 1 1', 'sign 0 1')
    found = read_vectors(path, ['Dining-Table', 'stop_sign', 'table'])
    assert found.tolist() == [[2, 0], [0.5, 1], [3, -2]]
    assert found.dtype == np.float32


def test_names_without_a_vector_are_named_with_the_tool_that_helps(tmp_path):
    path = numbered(tmp_path / 'v.txt', 'potted', 'cat')
    message = r"v.txt: 2 of 3 classes have no vector \('potted plant', '\?'\): add .*label_vectors"
    with pytest.raises(ValueError, match=message):
        read_vectors(path, ['potted plant', 'cat', '?'])


def test_words_of_glove_may_have_blanks_and_be_any_sign(tmp_path):
    """Lines as they stand in GloVe 840B, and in no form that Python would split alike."""
    path = write(
        tmp_path / 'v.txt',
        *(', 0 0', '. . . 9 9', 'at name@domain.com 9 9', '\x85 9 9', '\xa0 9 9', '\u2028 9 9'),
        *('. 1 1', 'at 2 2', 'work 4 4', '- 9 9', '_ 9 9', '1 9 9', '0.5 9 9'),
    )
    assert read_vectors(path, ['at', 'at-work', '.']).tolist() == [[2, 2], [3, 3], [1, 1]]


def test_the_line_of_word2vec_that_counts_the_others_is_none(tmp_path):
    path = write(tmp_path / 'v.txt', '2 3', 'cat 1 2 3 ', 'dog 4 5 6 ')  # fastText ends in a blank
    assert read_vectors(path, ['dog', 'cat']).tolist() == [[4, 5, 6], [1, 2, 3]]


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (['cat 1 2', 'dog 1'], r"line 2 \('dog 1'\) is not a word and 2 numbers"),
        (['cat 1 2', 'the'], r"line 2 \('the'\) is not a word and 2 numbers"),
        (['the'], r"line 1 \('the'\) is not a word and its numbers"),
        (['the one two'], r"line 1 \('the one two'\) is not a word and its numbers"),
        (['the 1 2', 'dog 1 x'], r"line 2 has 'x' where a number should be"),
        (['the 1 2', 'dog nan 1'], r"line 2 has 'nan' where"),
        (['the 1 2', 'dog 1 inf'], r"line 2 has 'inf' where"),
        (['the 1 2', 'dog 1e39 1'], r"line 2 has '1e39' where"),  # infinite as float32
        (['the\t1\t2'], 'separated by blanks'),
        ([], 'classes have no vector'),
        (['', '', 'cat 1', 'dog 1 2'], 'classes have no vector'),  # the word is "dog 1"
    ],
)
def test_a_line_that_is_no_vector_is_named(tmp_path, lines, message):
    with pytest.raises(ValueError, match=f'v.txt: .*{message}'):
        read_vectors(write(tmp_path / 'v.txt', *lines), ['dog'])


def test_published_vectors_are_lines_of_glove_and_means_of_two():
    """COCO's names of two words, from lines that have GloVe's five digits.

    The second word's line is what is missing to a mean; it would not have five digits if the
    published vector were anything else.
    """
    file = recorded('peers/aux_ml_gcn_vectors_and_counts.npz')
    published = {
        str(name): row.astype(np.float64)
        for data in ('nus', 'voc', 'coco')
        for name, row in zip(file[f'{data}_names'], file[f'{data}_vectors'])
    }

    def is_line(row):
        large = row[np.abs(row) > 0.1] * 1e5
        return np.abs(large - large.round()).max() < 0.05  # of a float32

    known = dict(teddy_bear='bear', sports_ball='sports', stop_sign='sign', fire_hydrant='fire')
    known.update(dining_table='diningtable', potted_plant='pottedplant')  # VOC's are one word's
    for name, word in known.items():
        assert is_line(2 * published[name.replace('_', ' ')] - published[word]), name
    two = [name for name in COCO_CATEGORIES if ' ' in name]
    assert [name for name in two if is_line(published[name])] == ['hot dog', 'cell phone']
    assert all(is_line(row) for name, row in published.items() if name not in two)
    assert_close(published['tvmonitor'], published['tv'], rtol=0, atol=0)


# ---------------------------------------------------------------- the module


def info(*names):
    return ClassInfo([], names)


def test_without_a_file_vectors_are_learned():
    torch.manual_seed(0)
    module = LabelVectors(50, 40)
    assert module.learn_classes(info(*map(str, range(50)))) == []
    assert module().requires_grad
    assert abs(module().std().item() - 1) < 0.1 and abs(module().mean().item()) < 0.1


def test_vectors_of_a_file_are_kept_in_the_checkpoint_and_not_trained(tmp_path):
    path = numbered(tmp_path / 'v.txt', 'cat', 'dog')
    module = LabelVectors(2, 2, str(path))
    lines = module.learn_classes(info('dog', 'cat'))
    assert lines == [f'Label vectors: 2 of 2 numbers from {path}']
    assert not list(module.parameters())
    path.unlink()
    other = LabelVectors(2, 2, str(path))  # building needs no file
    other.load_state_dict(module.state_dict())
    assert other().tolist() == [[1, 1], [0, 0]]


def test_another_width_than_the_files_is_refused(tmp_path):
    module = LabelVectors(1, 3, str(numbered(tmp_path / 'v.txt', 'cat')))
    with pytest.raises(ValueError, match='vectors of 2 numbers, and the config says dims=3'):
        module.learn_classes(info('cat'))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='v.txt'):
        LabelVectors(1, 3, str(tmp_path / 'v.txt')).learn_classes(info('cat'))
