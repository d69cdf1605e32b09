"""Label graphs: what a training set makes of them. C classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mlic.class_info import ClassInfo
from mlic.models.layers.label_graph import LabelGraph, normalised, reweighted
from tests.helpers import DATA, needs_data, recorded


def info_of(rows, names='abcdef'):
    """The ClassInfo of rows of 1, 0 and NaN (unknown)."""
    images = [
        dict(
            gt_label=[c for c, value in enumerate(row) if value == 1],
            gt_label_unknown=[c for c, value in enumerate(row) if value != value],
        )
        for row in rows
    ]
    dataset = SimpleNamespace(get_data_info=images.__getitem__)
    type_ = type('Rows', (), dict(__len__=lambda self: len(images)))
    data = type_()
    data.get_data_info = dataset.get_data_info
    return ClassInfo(data, names[: len(rows[0])])


def shares_by_loops(rows):
    """p[i, j]: of the images with i in which j is known, how many have j."""
    number = len(rows[0])
    shares = np.zeros((number, number))
    for i in range(number):
        for j in range(number):
            asked = [row for row in rows if row[i] == 1 and row[j] in (0, 1)]
            shares[i, j] = sum(row[j] == 1 for row in asked) / max(len(asked), 1)
    return shares


def test_shares_are_of_the_images_in_which_both_classes_are_known():
    random = np.random.default_rng(0)
    rows = random.choice([0.0, 1.0, np.nan], size=(60, 5), p=[0.5, 0.3, 0.2])
    np.testing.assert_array_equal(info_of(rows).conditional, shares_by_loops(rows))


@pytest.mark.parametrize('threshold', [0.2, 0.4])
def test_matrices_are_those_of_the_released_code(threshold):
    file = recorded('peers/ml_gcn.npz')
    info = info_of(file['train_labels'])
    together = info.counts[0]
    np.testing.assert_array_equal(together.diagonal(), file['nums'])
    np.testing.assert_array_equal(together - np.diag(file['nums']), file['counts'])
    share = torch.from_numpy(info.conditional)
    weights = reweighted(share, threshold, 0.25)
    expected = torch.from_numpy(file[f'A_t{threshold}'])
    assert_close(weights, expected, rtol=1e-12, atol=1e-12)
    expected = torch.from_numpy(file[f'adj_t{threshold}'])
    assert_close(normalised(weights), expected, rtol=1e-6, atol=1e-7)  # theirs is float32
    graph = LabelGraph(len(weights), 'reweighted', threshold)
    graph.learn_classes(info)
    assert_close(graph(), expected.float(), rtol=1e-6, atol=1e-7)


def test_the_conditional_graph_is_that_of_the_released_code():
    file = recorded('peers/ssgrl.npz')
    graph = LabelGraph(file['train_labels'].shape[1])
    graph.learn_classes(info_of(file['train_labels']))
    assert_close(graph(), torch.from_numpy(file['graph']).float(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('kind', ['conditional', 'reweighted'])
def test_a_class_without_images_has_no_edges_and_is_named(kind):
    rows = [[1, 1, 0], [1, 0, 0], [1, 1, 0]]
    graph = LabelGraph(3, kind)
    lines = graph.learn_classes(info_of(rows))
    assert '1 class without a training image, so without edges: c' in lines[1]
    assert graph().isfinite().all()
    assert_close(graph()[2], torch.tensor([0.0, 0.0, 1.0]))
    assert_close(graph()[:, 2], torch.tensor([0.0, 0.0, 1.0]))
    others = LabelGraph(2, kind)
    others.learn_classes(info_of([row[:2] for row in rows]))
    assert_close(graph()[:2, :2], others())
    assert len(others.learn_classes(info_of([row[:2] for row in rows]))) == 1


def test_a_graph_is_the_identity_until_it_has_learned():
    assert_close(LabelGraph(3)(), torch.eye(3))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="got 'statistical'"):
        LabelGraph(3, 'statistical')


@needs_data('label_files/voc2007')
def test_counts_of_voc_are_those_of_the_released_file():
    """Objects that are difficult count as neither."""
    folder = DATA / 'label_files/voc2007/ImageSets_Main_official'
    file = recorded('peers/aux_ml_gcn_vectors_and_counts.npz')
    names = sorted(path.stem.removesuffix('_trainval') for path in folder.glob('*_trainval.txt'))
    names = [name for name in names if name != 'trainval']
    columns = [
        [int(line.split()[1]) == 1 for line in (folder / f'{name}_trainval.txt').open()]
        for name in names
    ]
    together = info_of(np.array(columns).T.astype(int), names).counts[0]
    np.testing.assert_array_equal(together.diagonal(), file['voc_nums'])
    np.testing.assert_array_equal(together - np.diag(together.diagonal()), file['voc_counts'])


@pytest.mark.parametrize('data', ['coco', 'voc', 'nus'])
def test_matrices_of_published_counts_are_those_of_the_released_code(data):
    counts = recorded('peers/aux_ml_gcn_vectors_and_counts.npz')
    expected = recorded('peers/ml_gcn_adjacency_full.npz')
    share = counts[f'{data}_counts'] / counts[f'{data}_nums'][:, None]
    weights = reweighted(torch.from_numpy(share), 0.4, 0.25)
    assert_close(weights, torch.from_numpy(expected[f'{data}_A']), rtol=1e-12, atol=1e-12)
    matrix = torch.from_numpy(expected[f'{data}_adj'])
    assert_close(normalised(weights).float(), matrix, rtol=1e-6, atol=1e-7)
